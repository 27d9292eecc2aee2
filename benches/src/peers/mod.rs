//! llama.cpp's kernels, and its whole engine, as references in the same process.
//!
//! One token is multiplied by a call of ggml's `vec_dot` a row, quantisation left out; several as ggml does it, by a graph
//! of one `mul_mat`, which quantises its input itself (under a thousandth of its work at 2560 rows).

pub mod ggml;
pub mod llama;
pub mod models;

use std::hint::black_box;

use craftsman_golden::TernaryMatrix;
use craftsman_isa::HardwareCaps;

use crate::contest::Contestant;
use crate::product::Product;
use crate::quantized_tokens;
use craftsman_kernelgen::clock::{drive, timed};
use ggml::{Format, Graph, Rows};

/// Every format of ggml's that can say a matrix of that shape.
pub fn contestants(product: Product, caps: &HardwareCaps, w: &TernaryMatrix) -> Vec<Contestant<'static>> {
    let rows = Format::all().into_iter().filter_map(|format| Some((format.name, Rows::new(format, w)?)));
    let rows = rows.filter_map(|(name, rows)| {
        let copies = product.copies(caps, rows.size());
        let contestant = if product.tokens == 1 {
            one_token(name, product, vec![rows; copies])
        } else {
            many_tokens(name, product, &rows, copies)?
        };
        Some(contestant)
    });
    rows.collect()
}

/// The activations of `product` as floats whose largest value is exact in eight bits.
fn tokens(product: Product) -> Vec<f32> {
    quantized_tokens(product.tokens, product.k).0.into_iter().map(f32::from).collect()
}

fn one_token(name: &str, product: Product, copies: Vec<Rows>) -> Contestant<'static> {
    let Product { m, threads, .. } = product;
    let (token, bytes) = (copies[0].token(&tokens(product)), copies[0].size() as f64);
    let (mut y, mut first) = (vec![0.0; m], 0);
    Contestant::new(name, product.work(), bytes, move |calls| {
        let length = m.div_ceil(threads);
        let parts = (0..m).step_by(length).zip(black_box(&mut y).chunks_mut(length)).collect();
        let seconds = drive(parts, calls, |(start, out), call| {
            copies[(first + call) % copies.len()].multiply(*start..*start + out.len(), &token, out);
        });
        first = (first + calls) % copies.len();
        seconds
    })
}

fn many_tokens(name: &str, product: Product, rows: &Rows, copies: usize) -> Option<Contestant<'static>> {
    let x = tokens(product);
    let graphs = (0..copies).map(|_| Graph::new(rows, &x, product.threads));
    let mut graphs = graphs.collect::<Option<Vec<_>>>()?;
    let mut next = 0;
    Some(Contestant::new(name, product.work(), rows.size() as f64, move |calls| {
        timed(|| {
            for _ in 0..calls {
                let graph = &mut graphs[next];
                graph.run();
                black_box(&graph.output()[0]);
                next = (next + 1) % graphs.len();
            }
        })
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::product::Residence;
    use crate::ternary_matrix;
    use craftsman_golden::gemm::ternary_gemm;

    const PRODUCT: Product = Product { m: 48, k: 512, tokens: 3, residence: Residence::Cache, threads: 1 };

    /// ggml quantises activations by blocks, so it agrees to a few parts in a thousand; its four-bit format cannot say
    /// +1 and -1 at once and agrees less.
    #[test]
    fn ggml_computes_the_same_product() {
        let w = ternary_matrix(PRODUCT.m, PRODUCT.k);
        let x = tokens(PRODUCT);
        let (q, _) = quantized_tokens(PRODUCT.tokens, PRODUCT.k);
        let expected = ternary_gemm(&w, &q, &[1.0; PRODUCT.tokens]);
        let size = expected.iter().map(|y| y.abs()).sum::<f32>() / expected.len() as f32;
        for format in Format::all() {
            let tolerance = if format.name == "q4_0" { 0.5 } else { 0.01 } * size;
            let rows = Rows::new(format, &w).unwrap();
            let mut one = vec![0.0; PRODUCT.m];
            rows.multiply(0..PRODUCT.m, &rows.token(&x[..PRODUCT.k]), &mut one);
            let mut graph = Graph::new(&rows, &x, 1).unwrap();
            graph.run();
            let close = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < tolerance);
            assert!(close(&one, &expected[..PRODUCT.m]), "{}: {one:?} {expected:?}", format.name);
            assert!(close(graph.output(), &expected), "{}", format.name);
        }
    }

    #[test]
    fn shapes_that_a_format_cannot_say_are_left_out() {
        let w = ternary_matrix(4, 100);
        assert!(Format::all().into_iter().all(|format| Rows::new(format, &w).is_none()));
    }
}
