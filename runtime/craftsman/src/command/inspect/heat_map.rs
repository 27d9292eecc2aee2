//! The experts' shares as a picture: a row a layer, a column an expert, as SVG.

use std::fmt;

use craftsman::LayerRouting;

/// Width that the columns share, in pixels.
const WIDTH: f64 = 1024.0;
/// Space left of the columns for the layers' numbers, and right of them.
const LEFT: f64 = 64.0;
const RIGHT: f64 = 24.0;
/// Space above the rows for the title, and below them for the experts' numbers and the legend.
const TOP: f64 = 48.0;
const BOTTOM: f64 = 92.0;
/// Columns between two numbers are at least so wide.
const NUMBER_WIDTH: f64 = 36.0;
/// Steps of the legend's bar, and its width.
const STEPS: usize = 64;
const LEGEND: f64 = 320.0;

/// Colours from nothing to the largest share, evenly spaced: light to dark, distinct also without colour.
const COLOURS: [[f64; 3]; 5] = [
    [247.0, 247.0, 242.0],
    [254.0, 204.0, 92.0],
    [240.0, 110.0, 60.0],
    [178.0, 24.0, 72.0],
    [50.0, 8.0, 60.0],
];

/// What is drawn; `Display` writes the SVG.
pub struct HeatMap<'a> {
    pub title: &'a str,
    pub layers: &'a [LayerRouting],
}

impl fmt::Display for HeatMap<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let experts = self.layers.iter().map(|layer| layer.load.len()).max().unwrap_or(0).max(1);
        let cell = (WIDTH / experts as f64, if self.layers.len() > 32 { 14.0 } else { 20.0 });
        let height = cell.1 * self.layers.len() as f64;
        let size = (LEFT + WIDTH + RIGHT, TOP + height + BOTTOM);
        // Shares by that of an even spread, so that the scale means the same for every number of experts.
        let times = |share: f64| share * experts as f64;
        let most = self.layers.iter().map(|layer| times(layer.busiest().1)).fold(1.0, f64::max);
        writeln!(
            f,
            r##"<svg xmlns="http://www.w3.org/2000/svg" width="{0}" height="{1}" viewBox="0 0 {0} {1}" font-family="sans-serif" font-size="12" fill="#222">
<rect width="100%" height="100%" fill="#ffffff"/>
<text x="{LEFT}" y="28" font-size="16">{2}</text>"##,
            size.0,
            size.1,
            escaped(self.title)
        )?;
        for (row, layer) in self.layers.iter().enumerate() {
            let y = TOP + cell.1 * row as f64;
            let (x, middle) = (LEFT - 8.0, y + cell.1 / 2.0 + 4.0);
            writeln!(f, r#"<text x="{x}" y="{middle}" text-anchor="end">{}</text>"#, layer.layer)?;
            for (expert, share) in layer.shares().into_iter().enumerate() {
                let x = LEFT + cell.0 * expert as f64;
                let (number, percent, times) = (layer.layer, share * 100.0, times(share));
                writeln!(
                    f,
                    r#"<rect x="{x:.2}" y="{y}" width="{:.2}" height="{}" fill="{}"><title>layer {number}, expert {expert}: {percent:.2} %, {times:.2} times an even share</title></rect>"#,
                    cell.0,
                    cell.1,
                    colour(place(times, most)),
                )?;
            }
        }
        let bottom = TOP + height;
        writeln!(
            f,
            r##"<rect x="{LEFT}" y="{TOP}" width="{WIDTH}" height="{height}" fill="none" stroke="#888"/>
<text transform="translate(18 {}) rotate(-90)" text-anchor="middle">layer</text>"##,
            TOP + height / 2.0
        )?;
        numbers(f, experts, cell.0, bottom)?;
        legend(f, most, bottom + 52.0)?;
        writeln!(f, "</svg>")
    }
}

/// The experts' numbers under their columns, as many as there is room for.
fn numbers(f: &mut fmt::Formatter<'_>, experts: usize, width: f64, bottom: f64) -> fmt::Result {
    let needed = (NUMBER_WIDTH / width).ceil() as usize;
    let step = if needed <= 1 { 1 } else { needed.next_power_of_two() };
    for expert in (0..experts).step_by(step) {
        let x = LEFT + width * (expert as f64 + 0.5);
        writeln!(f, r#"<text x="{x:.2}" y="{}" text-anchor="middle">{expert}</text>"#, bottom + 16.0)?;
    }
    let (x, y) = (LEFT + WIDTH / 2.0, bottom + 34.0);
    writeln!(f, r#"<text x="{x}" y="{y}" text-anchor="middle">expert</text>"#)
}

/// The bar of colours with what they mean.
fn legend(f: &mut fmt::Formatter<'_>, most: f64, y: f64) -> fmt::Result {
    let step = LEGEND / STEPS as f64;
    for at in 0..STEPS {
        let (x, fill) = (LEFT + step * at as f64, colour(at as f64 / (STEPS - 1) as f64));
        writeln!(f, r#"<rect x="{x}" y="{y}" width="{}" height="12" fill="{fill}"/>"#, step + 0.5)?;
    }
    let below = y + 28.0;
    let mut marks = vec![(0.0, "0".to_owned()), (1.0, format!("{most:.1}"))];
    // The even share's mark, where it does not run into the ends'.
    let even = place(1.0, most);
    if (0.1..0.9).contains(&even) {
        marks.push((even, "1".to_owned()));
    }
    for (place, mark) in marks {
        let x = LEFT + LEGEND * place;
        writeln!(f, r#"<text x="{x:.2}" y="{below}" text-anchor="middle">{mark}</text>"#)?;
    }
    let (x, middle) = (LEFT + LEGEND + 24.0, y + 11.0);
    writeln!(f, r#"<text x="{x}" y="{middle}">times an even share of the layer's choices</text>"#)
}

/// Where a share stands between nothing and the largest: by its root, so that what is little is seen beside what is much.
fn place(times: f64, most: f64) -> f64 {
    (times / most).sqrt()
}

/// The colour at a place between 0 and 1.
fn colour(place: f64) -> String {
    let place = place.clamp(0.0, 1.0) * (COLOURS.len() - 1) as f64;
    let low = (place as usize).min(COLOURS.len() - 2);
    let part = place - low as f64;
    let [r, g, b] = [0, 1, 2].map(|channel| {
        let (from, to) = (COLOURS[low][channel], COLOURS[low + 1][channel]);
        (from + (to - from) * part).round() as u8
    });
    format!("#{r:02x}{g:02x}{b:02x}")
}

/// Text as XML may hold it.
fn escaped(text: &str) -> String {
    let visible = text.chars().map(|c| if c.is_control() { '\u{FFFD}' } else { c });
    let escape = |c: char| match c {
        '&' => "&amp;".to_owned(),
        '<' => "&lt;".to_owned(),
        '>' => "&gt;".to_owned(),
        c => c.to_string(),
    };
    visible.map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_expert_of_every_layer_has_its_cell() {
        let layer = |layer, load: &[u64]| LayerRouting {
            layer,
            tokens: 2,
            load: load.to_vec(),
            probability: vec![1.0; load.len()],
        };
        let layers = [layer(1, &[2, 0, 1, 1]), layer(2, &[1, 1, 1, 1])];
        let svg = HeatMap { title: "a<b & \u{7}", layers: &layers }.to_string();
        assert_eq!(svg.matches("<title>").count(), 8);
        assert!(svg.contains("layer 1, expert 0: 50.00 %, 2.00 times an even share"), "{svg}");
        assert!(svg.contains("a&lt;b &amp; \u{FFFD}"), "{svg}");
        assert_eq!([colour(0.0), colour(1.0), colour(9.0)], ["#f7f7f2", "#32083c", "#32083c"]);
        assert!(HeatMap { title: "", layers: &[] }.to_string().ends_with("</svg>\n"));
    }
}
