//! The page that `kernelgen tune --report` writes: nothing but HTML and SVG, in one file.

use std::fmt::Write;

use craftsman_isa::HardwareCaps;
use craftsman_kernelgen::roofline::{Roofline, Samples};
use craftsman_kernelgen::tuning::{Answer, Trial};

use super::plot;

const STYLE: &str = "body{font:15px/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:#222}\
table{border-collapse:collapse}td,th{padding:.2em .8em;text-align:left;border-bottom:1px solid #ddd}\
svg{max-width:100%;height:auto}code{font-size:90%}h2{margin-top:2.5em}";

/// The page about `answers`.
pub(super) fn page(
    caps: &HardwareCaps,
    roofline: Option<&Roofline>,
    answers: &[Answer],
) -> Result<String, String> {
    let mut body = String::new();
    for answer in answers {
        section(&mut body, answer)?;
    }
    Ok(format!(
        "<!DOCTYPE html><html lang=\"en\"><meta charset=\"utf-8\"><title>Tuning of {machine}</title>\
         <style>{STYLE}</style>\n<h1>Tuning of {machine}</h1>\n\
         <p>Times are relative to the kernel that would be chosen without tuning, measured in turn with it; below 1 is \
         faster. Whiskers are the middle half of the samples. The roofline is the least time in which this machine \
         could read the weights and make the products.</p>\n{ceilings}{body}</html>\n",
        machine = escape(&format!("{} ({})", caps.brand.trim(), caps.identity())),
        ceilings = roofline.map_or(String::new(), ceilings),
    ))
}

fn ceilings(roofline: &Roofline) -> String {
    let row = |what: &str, threads: usize, rate: &Samples, unit: &str| {
        let (median, spread) = (rate.median / 1e9, rate.spread() * 50.0);
        let what = escape(what);
        format!("<tr><td>{what}<td>{threads}<td>{median:.1} {unit}<td>&plusmn;{spread:.1} %</tr>\n")
    };
    let reads = roofline
        .reads
        .iter()
        .map(|read| row(&format!("read {}", read.level), read.threads, &read.rate, "GB/s"));
    let products = roofline.products.iter().map(|products| {
        row(&format!("products {}", products.backend), products.threads, &products.rate, "G/s")
    });
    let rows: String = reads.chain(products).collect();
    format!("<h2>Ceilings</h2>\n<table><tr><th><th>threads<th>rate<th>middle half</tr>\n{rows}</table>\n")
}

fn section(body: &mut String, answer: &Answer) -> Result<(), String> {
    let share =
        answer.share.map_or(String::new(), |share| format!(", {:.0} % of the roofline", share * 100.0));
    let state = if answer.finished { "" } else { " The search ran out of time and can be gone on with." };
    let written = write!(
        body,
        "<h2>{}</h2>\n<p><code>{}</code>: {:.2} times as fast as <code>{}</code>{share}; {} kernels shown.{state}</p>\n",
        escape(&answer.question.to_string()),
        answer.choice,
        answer.gain,
        answer.heuristic,
        answer.ranking.len(),
    );
    written.map_err(|error| error.to_string())?;
    body.push_str(&plot::ranking(answer)?);
    body.push_str(&plot::heat_map(answer)?.unwrap_or_default());
    body.push('\n');
    Ok(())
}

/// The trials of the chosen backend, family and variant: those that a heat map compares.
pub(super) fn relatives(answer: &Answer) -> impl Iterator<Item = &Trial> {
    let kind = |trial: &Trial| (trial.config.backend, trial.config.family, trial.config.variant);
    let choice = answer.choice;
    let chosen = (choice.backend, choice.family, choice.variant);
    answer.ranking.iter().filter(move |trial| kind(trial) == chosen)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
