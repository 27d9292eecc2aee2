//! The C header of an object: shapes, units, alignments, and the functions.

use std::fmt::Write;

use craftsman_golden::Granularity;

use super::{Functions, Target};
use crate::activations::TOKEN_GRANULE;
use crate::code::EmitError;
use crate::key::{Batch, Epilogue, KernelKey};
use crate::quantizer::SLACK;

/// The struct that all functions take, which is the same for every object.
const ARGUMENTS: &str = "\
#ifndef CRAFTSMAN_ARGUMENTS
#define CRAFTSMAN_ARGUMENTS
/* What a function is called with. It owns the struct during the call and counts in it; set all fields before each call,
 * the unnamed ones to zero. Buffers need no alignment but for scratch; those that are written must not overlap. */
struct craftsman_arguments {
    const void *source;          /* what a quantiser or the maker of a form reads */
    const void *weights;         /* packed weights, panel after panel */
    const float *scales;         /* one for the tensor, or one a row and block, in the order of the panels */
    void *activations;           /* quantised activations, in the form that the product reads */
    uint32_t *token_words;       /* per token: the scale's bits, then the sum of each block's activations */
    float *output;               /* tokens x M floats */
    void *scratch;               /* SCRATCH_BYTES, aligned to 64 */
    uint64_t panels;             /* full panels to process */
    uint64_t tail;               /* 1 to process the last, partial panel too */
    uint64_t tokens;             /* how many */
    uint64_t counters[4];
};
#endif
";

/// The header's text.
pub(super) fn write(functions: &Functions, target: &Target) -> Result<String, EmitError> {
    let Functions { key, config, name, parts, .. } = functions;
    let upper = name.to_ascii_uppercase();
    let needs: Vec<_> = config.parts()?.0.requires().iter().map(ToString::to_string).collect();
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "/* {key} by {config} for {}, emitted by kernelgen {}.\n * Needs a processor with: {}.\n *\n{} */",
        target.name,
        env!("CARGO_PKG_VERSION"),
        needs.join(", "),
        formula(key),
    );
    let _ = writeln!(text, "#ifndef {upper}_H\n#define {upper}_H\n#include <stdint.h>\n\n{ARGUMENTS}");
    for (what, number, meaning) in numbers(functions)? {
        let _ = writeln!(text, "#define {upper}_{what} {number} /* {meaning} */");
    }
    let _ = writeln!(text, "\n#ifdef __cplusplus\nextern \"C\" {{\n#endif");
    for part in parts {
        let purpose = part.purpose;
        let _ = writeln!(text, "/* {purpose} */\nvoid {name}{}(struct craftsman_arguments *);", part.suffix);
    }
    let _ = writeln!(text, "#ifdef __cplusplus\n}}\n#endif\n#endif");
    Ok(text)
}

/// What is computed, in the order of its roundings.
fn formula(key: &KernelKey) -> String {
    let limit = (1 << (key.activation_bits - 1)) - 1;
    let output = match key.epilogue {
        Epilogue::None => "output[token][row] = product",
        Epilogue::Add => "output[token][row] += product",
        Epilogue::Silu => "output[token][row] = silu(gate's product) * up's product",
        Epilogue::Relu2 => "output[token][row] = max(gate's product, 0)^2 * up's product",
    };
    format!(
        " * {output}, where
 * product = (sum over k of weight * q) * scale / a; a block has its own scale, and their products are added up;
 * q = round(x * a) and a = 1 / max(|x|, 1e-5) * {limit} for a row of floats x; weights are -1, 0, 1.
"
    )
}

/// Everything that a caller must know to give its buffers their sizes, with what it means.
fn numbers(functions: &Functions) -> Result<Vec<(&'static str, usize, &'static str)>, EmitError> {
    let Functions { key, config, parts, .. } = functions;
    let layout = config.layout(key)?;
    let (_, family) = config.parts()?;
    let form = family.input(key, config);
    let (block, blocks) = key.blocks();
    let scales = match key.scales {
        Granularity::Tensor => layout.matrices(),
        Granularity::Row | Granularity::Block(_) => layout.panels() * layout.panel_rows * blocks,
    };
    let scratch = parts.iter().map(|part| part.code.scratch).max().unwrap_or(0);
    Ok(vec![
        ("M", key.m, "rows of the weights, floats of an output row"),
        ("K", key.k, "columns of the weights, floats of an input row"),
        ("BLOCK", block, "columns under one scale and one sum"),
        ("BLOCKS", blocks, "of a row"),
        ("MATRICES", key.matrices(), "2: gate and up, whose panels take turns"),
        ("TOKENS", usize::from(key.batch == Batch::Decode), "the most of a call; 0: any number"),
        ("PANEL_ROWS", layout.panel_rows, "rows of a full panel"),
        ("PANEL_BYTES", layout.panel_bytes, "bytes from panel to panel of the weights"),
        ("PANELS", layout.m / layout.panel_rows, "full panels; output is computed from panel to panel"),
        (
            "TAIL",
            usize::from(!layout.m.is_multiple_of(layout.panel_rows)),
            "whether there is a partial panel",
        ),
        ("WEIGHT_BYTES", layout.panels() * layout.panel_bytes, "all packed weights"),
        ("SCALES", scales, "floats"),
        ("ROW_BYTES", key.padded_k(), "bytes of a quantised row"),
        ("SLACK", SLACK, "bytes behind the last quantised row that may be written"),
        ("TOKEN_WORDS", 1 + blocks, "words of a token"),
        ("TOKEN_GRANULE", TOKEN_GRANULE, "there is room for the words of a multiple of so many tokens"),
        ("HAS_INPUT", usize::from(parts.len() == 3), "whether quantised rows must go through _input"),
        ("FORM_GROUP", form.group, "tokens whose activations lie together"),
        ("FORM_BYTES", form.group_bytes, "bytes of such a group in the form that the product reads"),
        ("SCRATCH_BYTES", scratch, "work space, aligned to 64"),
    ])
}
