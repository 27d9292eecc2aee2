//! Line plots as SVG: one look for all of them.

use craftsman_kernelgen::roofline::Samples;
use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

use crate::failure::Failure;

const SIZE: (u32, u32) = (900, 440);
/// Room on the right for the lines' names.
const LEGEND_WIDTH: u32 = 190;
/// From one name to the next.
const LEGEND_STEP: i32 = 22;
/// Numbers on an axis, at most.
const TICKS: usize = 13;
const FONT: &str = "sans-serif";
const INK: RGBColor = RGBColor(0x33, 0x33, 0x33);
const GRID: RGBColor = RGBColor(0xE6, 0xE6, 0xE6);
/// Okabe and Ito's colours, which the colour-blind tell apart; without yellow, which is no line on white.
const COLOURS: [RGBColor; 7] = [
    RGBColor(0x00, 0x72, 0xB2),
    RGBColor(0xD5, 0x5E, 0x00),
    RGBColor(0x00, 0x9E, 0x73),
    RGBColor(0xCC, 0x79, 0xA7),
    RGBColor(0xE6, 0x9F, 0x00),
    RGBColor(0x56, 0xB4, 0xE9),
    RGBColor(0x00, 0x00, 0x00),
];

/// What is drawn.
#[derive(Debug, Clone)]
pub struct Plot {
    /// Above the plot.
    pub title: String,
    /// To the right.
    pub x: Axis,
    /// Up, from zero.
    pub y: Axis,
    /// The lines, in the order of the legend.
    pub lines: Vec<Line>,
    /// Places on the x axis with a name.
    pub marks: Vec<(f64, String)>,
}

/// An axis.
#[derive(Debug, Clone, Copy)]
pub struct Axis {
    /// What it counts, with its unit.
    pub label: &'static str,
    /// How values are spread.
    pub scale: Scale,
    /// How a value is written.
    pub format: fn(f64) -> String,
}

/// How values are spread over an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// Evenly.
    Linear,
    /// A doubling is as long everywhere.
    Log2,
}

/// A line with the middle half of its samples as a band.
#[derive(Debug, Clone)]
pub struct Line {
    /// Its name in the legend.
    pub name: String,
    /// From left to right.
    pub points: Vec<(f64, Samples)>,
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

impl Axis {
    fn place(&self, value: f64) -> f64 {
        if self.scale == Scale::Log2 { value.log2() } else { value }
    }

    fn text(&self, place: f64) -> String {
        (self.format)(if self.scale == Scale::Log2 { place.exp2() } else { place })
    }
}

impl Plot {
    /// The picture as the text of an SVG file.
    pub fn svg(&self) -> Result<String, Failure> {
        let mut text = String::new();
        let drawn = self.draw(&SVGBackend::with_string(&mut text, SIZE).into_drawing_area());
        drawn.map_err(|error| Failure::Plot { what: self.title.clone(), error: error.to_string() })?;
        Ok(text)
    }

    fn draw(&self, area: &Area<'_>) -> Drawn {
        area.fill(&WHITE)?;
        let (body, legend) = area.split_horizontally(SIZE.0 - LEGEND_WIDTH);
        self.draw_legend(&legend)?;
        self.draw_body(&body)?;
        area.present()?;
        Ok(())
    }

    fn draw_body(&self, area: &Area<'_>) -> Drawn {
        let (left, right) = self.span();
        let top = self.points().map(|(_, samples)| samples.high).fold(0.0, f64::max) * 1.08;
        let mut chart = ChartBuilder::on(area)
            .caption(&self.title, (FONT, 19, &INK))
            .margin(14)
            .x_label_area_size(46)
            .y_label_area_size(64)
            .build_cartesian_2d(left..right, 0.0..top.max(1e-9))?;
        let label = (FONT, 14, &INK).into_text_style(area);
        chart
            .configure_mesh()
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .axis_style(INK)
            .x_desc(self.x.label)
            .y_desc(self.y.label)
            .axis_desc_style(label.clone())
            .label_style(label)
            .x_labels(self.ticks(right - left))
            .x_label_formatter(&|place| self.x.text(*place))
            .y_label_formatter(&|place| self.y.text(*place))
            .draw()?;
        self.draw_marks(area, &mut chart, top)?;
        for (line, colour) in self.lines.iter().zip(COLOURS.iter().cycle()) {
            self.draw_line(&mut chart, line, *colour)?;
        }
        Ok(())
    }

    /// The names beside their colours, to the right of the lines.
    fn draw_legend(&self, area: &Area<'_>) -> Drawn {
        let style = (FONT, 14, &INK).into_text_style(area);
        for ((line, colour), row) in self.lines.iter().zip(COLOURS.iter().cycle()).zip(0..) {
            let y = 60 + row * LEGEND_STEP;
            area.draw(&PathElement::new([(0, y), (22, y)], colour.stroke_width(3)))?;
            area.draw(&Text::new(line.name.clone(), (29, y - 7), style.clone()))?;
        }
        Ok(())
    }

    /// How many numbers the x axis has: whole ones, where there are few.
    fn ticks(&self, span: f64) -> usize {
        if self.x.scale == Scale::Linear && span < TICKS as f64 { span.floor() as usize + 1 } else { TICKS }
    }

    fn draw_line(&self, chart: &mut Chart<'_, '_>, line: &Line, colour: RGBColor) -> Drawn {
        let at = |value: fn(&Samples) -> f64| {
            line.points.iter().map(move |(x, samples)| (self.x.place(*x), value(samples)))
        };
        let band: Vec<_> = at(|samples| samples.low).chain(at(|samples| samples.high).rev()).collect();
        chart.draw_series([Polygon::new(band, colour.mix(0.18))])?;
        chart.draw_series(LineSeries::new(at(|samples| samples.median), colour.stroke_width(2)))?;
        chart
            .draw_series(at(|samples| samples.median).map(|point| Circle::new(point, 3, colour.filled())))?;
        Ok(())
    }

    fn draw_marks(&self, area: &Area<'_>, chart: &mut Chart<'_, '_>, top: f64) -> Drawn {
        let style = (FONT, 13, &INK).into_text_style(area);
        for (x, name) in &self.marks {
            let x = self.x.place(*x);
            chart.draw_series(DashedLineSeries::new([(x, 0.0), (x, top)], 4, 4, INK.mix(0.5).into()))?;
            chart.draw_series([Text::new(format!(" {name}"), (x, top * 0.06), style.clone())])?;
        }
        Ok(())
    }

    fn points(&self) -> impl Iterator<Item = &(f64, Samples)> {
        self.lines.iter().flat_map(|line| &line.points)
    }

    /// Left and right end of the x axis, with some air.
    fn span(&self) -> (f64, f64) {
        let places = || self.points().map(|(x, _)| self.x.place(*x));
        let (left, right) =
            (places().fold(f64::INFINITY, f64::min), places().fold(f64::NEG_INFINITY, f64::max));
        if left > right {
            return (0.0, 1.0);
        }
        let air = ((right - left) * 0.03).max(0.1);
        (if self.x.scale == Scale::Linear && left >= 0.0 { 0.0 } else { left - air }, right + air)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(points: Vec<(f64, Samples)>) -> Plot {
        let axis = Axis { label: "tokens", scale: Scale::Log2, format: |value| format!("{value:.0}") };
        let line = Line { name: "avx2-i2s".to_owned(), points };
        Plot {
            title: "Growth".to_owned(),
            x: axis,
            y: Axis { scale: Scale::Linear, label: "us", ..axis },
            lines: vec![line],
            marks: vec![(32.0, "L1".to_owned())],
        }
    }

    #[test]
    fn a_plot_names_what_it_shows() {
        let at = |x: f64| (x, Samples::new(vec![x, x * 1.1]).unwrap());
        let svg = plot(vec![at(1.0), at(8.0), at(64.0)]).svg().unwrap();
        for text in ["<svg", "Growth", "tokens", "us", "avx2-i2s", "L1", "</svg>"] {
            assert!(svg.contains(text), "{text} in {svg}");
        }
    }

    #[test]
    fn nothing_and_one_point_can_be_drawn() {
        assert!(plot(Vec::new()).svg().is_ok());
        assert!(plot(vec![(4.0, Samples::new(vec![1.0]).unwrap())]).svg().is_ok());
    }
}
