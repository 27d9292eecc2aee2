//! The plots of the tuning report.

use std::collections::BTreeMap;
use std::fmt::Display;

use craftsman_kernelgen::tuning::Answer;
use plotters::prelude::*;

use super::report::relatives;

/// Candidates in a plot at most: the fastest; more are a smear.
const SHOWN: usize = 40;
/// Height of a candidate's row.
const ROW: u32 = 18;
const WIDTH: u32 = 860;
const HEURISTIC: RGBColor = RGBColor(150, 150, 150);
const CHOSEN: RGBColor = RGBColor(200, 60, 30);
const OTHER: RGBColor = RGBColor(50, 90, 160);
const ROOF: RGBColor = RGBColor(30, 130, 60);

fn said(error: impl Display) -> String {
    format!("cannot plot: {error}")
}

/// Candidates, the fastest on top, by their time relative to the heuristic choice, with the roofline as a line.
pub(super) fn ranking(answer: &Answer) -> Result<String, String> {
    let trials = &answer.ranking[..answer.ranking.len().min(SHOWN)];
    let roof = answer.share.map(|share| share / answer.gain);
    let right = trials.iter().map(|trial| trial.ratio.high).fold(1.0, f64::max).min(3.0) * 1.05;
    let rows = trials.len() as f64;
    let mut svg = String::new();
    {
        let area =
            SVGBackend::with_string(&mut svg, (WIDTH, ROW * trials.len() as u32 + 60)).into_drawing_area();
        let mut chart = ChartBuilder::on(&area)
            .margin(8)
            .x_label_area_size(40)
            .y_label_area_size(300)
            .build_cartesian_2d(0.0..right, rows..0.0)
            .map_err(said)?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .y_labels(0)
            .x_desc("time relative to the heuristic choice")
            .draw()
            .map_err(said)?;
        for (row, trial) in trials.iter().enumerate() {
            let colour = match trial.config {
                config if config == answer.choice => CHOSEN,
                config if config == answer.heuristic => HEURISTIC,
                _ => OTHER,
            };
            let (y, ratio) = (row as f64 + 0.5, &trial.ratio);
            let whisker = [(ratio.low.min(right), y), (ratio.high.min(right), y)];
            chart.draw_series([PathElement::new(whisker, colour.stroke_width(2))]).map_err(said)?;
            chart
                .draw_series([Circle::new((ratio.median.min(right), y), 4, colour.filled())])
                .map_err(said)?;
            // Names stand left of the axis, where labels of numbers would be.
            let place = (8, 10 + (ROW as usize * row) as i32);
            area.draw(&Text::new(trial.config.to_string(), place, ("monospace", 12).into_font()))
                .map_err(said)?;
        }
        for (x, colour) in [(Some(1.0), HEURISTIC), (roof, ROOF)] {
            let Some(x) = x else { continue };
            chart
                .draw_series([PathElement::new([(x, 0.0), (x, rows)], colour.stroke_width(1))])
                .map_err(said)?;
        }
        area.present().map_err(said)?;
    }
    Ok(svg)
}

/// What tile and prefetch distance do to the chosen way: the best time of each pair. `None` when there is but one.
pub(super) fn heat_map(answer: &Answer) -> Result<Option<String>, String> {
    let mut cells: BTreeMap<(String, usize), f64> = BTreeMap::new();
    for trial in relatives(answer) {
        let tile = trial.config.tile;
        let name = format!("{}x{}u{}", tile.panels, tile.tokens, tile.unroll);
        let cell = cells.entry((name, tile.prefetch)).or_insert(f64::INFINITY);
        *cell = cell.min(trial.ratio.median);
    }
    let mut tiles: Vec<_> = cells.keys().map(|(tile, _)| tile.clone()).collect();
    let mut distances: Vec<_> = cells.keys().map(|(_, prefetch)| *prefetch).collect();
    tiles.dedup();
    distances.sort_unstable();
    distances.dedup();
    if tiles.len() * distances.len() < 2 {
        return Ok(None);
    }
    let least = cells.values().copied().fold(f64::INFINITY, f64::min);
    let mut svg = String::new();
    {
        let height = 34 * tiles.len() as u32 + 60;
        let area = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        for (row, tile) in tiles.iter().enumerate() {
            let y = 30 + 34 * row as i32;
            area.draw(&Text::new(tile.clone(), (8, y + 10), ("monospace", 12).into_font())).map_err(said)?;
            for (column, distance) in distances.iter().enumerate() {
                let x = 130 + 70 * column as i32;
                if row == 0 {
                    let text = format!("p{distance}");
                    area.draw(&Text::new(text, (x + 12, 8), ("monospace", 12).into_font())).map_err(said)?;
                }
                let Some(ratio) = cells.get(&(tile.clone(), *distance)) else { continue };
                let place = [(x, y), (x + 66, y + 30)];
                area.draw(&Rectangle::new(place, heat(ratio / least).filled())).map_err(said)?;
                let text = Text::new(format!("{ratio:.2}"), (x + 16, y + 9), ("sans-serif", 13).into_font());
                area.draw(&text).map_err(said)?;
            }
        }
        area.present().map_err(said)?;
    }
    Ok(Some(svg))
}

/// White for the best, red for half again as slow and slower.
fn heat(slower: f64) -> RGBColor {
    let share = ((slower - 1.0) / 0.5).clamp(0.0, 1.0);
    let fade = (255.0 - 165.0 * share) as u8;
    RGBColor(255, fade, fade)
}
