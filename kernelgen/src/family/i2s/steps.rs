//! The inner loop: weights against activations, into integer sums.

use super::plan::Plane;
use super::walk::{Extent, Walk};
use crate::vocabulary::Vector;

impl Walk<'_> {
    /// Adds up `steps` steps; moves the weight and activation pointers past them. The sums are in the registers
    /// returned or, where products are summed in pairs, in the work space.
    pub(super) fn accumulate(&mut self, extent: Extent, steps: usize) -> Vec<Vector> {
        let sums: Vec<_> = (0..extent.sums()).map(|_| self.e.vector()).collect();
        if self.ones.is_some() {
            self.clear_scratch(extent, 0);
        } else {
            self.zero(&sums);
        }
        let (rounds, rest) = (steps / self.tile.unroll, steps % self.tile.unroll);
        if rounds > 0 {
            self.e.begin_repeat(rounds, &format!("{} steps", self.tile.unroll));
            self.chunk(extent, self.tile.unroll, &sums);
            self.e.end_repeat();
        }
        if rest > 0 {
            self.e.label(&format!("last {rest} steps"));
            self.chunk(extent, rest, &sums);
        }
        if self.ones.is_none() {
            return sums;
        }
        self.release(sums);
        Vec::new()
    }

    fn zero(&mut self, vectors: &[Vector]) {
        for &vector in vectors {
            self.e.zero(vector);
        }
    }

    /// `steps` steps in a row, few enough for sixteen-bit sums where those are used.
    fn chunk(&mut self, extent: Extent, steps: usize, sums: &[Vector]) {
        if self.ones.is_some() {
            self.zero(sums);
        }
        for step in 0..steps {
            self.step(extent, step as i64, sums);
        }
        self.e.advance(self.weights, steps as i64 * self.vector_bytes);
        self.e.advance(self.activations, 4 * steps as i64);
        if let Some(ones) = self.ones {
            let (sum, wide) = (self.e.vector(), self.e.vector());
            for (index, &narrow) in sums.iter().enumerate() {
                let place = index as i64 * self.vector_bytes;
                self.e.widen_pairs(wide, narrow, ones);
                self.e.load(sum, self.scratch, place);
                self.e.add(sum, sum, wide);
                self.e.store(self.scratch, place, sum);
            }
            self.release([sum, wide]);
        }
    }

    /// One vector of weights a panel, against four activations of every token.
    fn step(&mut self, extent: Extent, step: i64, sums: &[Vector]) {
        // Few tokens: their activations stay and the planes pass by. Many: the planes stay.
        let keep_activations = extent.tokens <= 2;
        let kept = if keep_activations { extent.tokens } else { 0 };
        let x: Vec<_> = (0..kept.max(1)).map(|_| self.e.vector()).collect();
        for (token, &x) in x.iter().enumerate().take(kept) {
            self.broadcast(x, token, step);
        }
        let w = self.e.vector();
        for panel in 0..extent.panels {
            let offset = panel as i64 * self.panel_bytes + step * self.vector_bytes;
            if self.tile.prefetch > 0 && (step * self.vector_bytes) % 64 == 0 {
                self.e.prefetch(self.weights, offset + self.tile.prefetch as i64);
            }
            self.e.load(w, self.weights, offset);
            if keep_activations {
                self.planes_pass(extent, panel, w, &x, sums);
            } else {
                self.planes_stay(extent, panel, step, w, x[0], sums);
            }
        }
        self.e.release(w);
        self.release(x);
    }

    fn broadcast(&mut self, x: Vector, token: usize, step: i64) {
        self.e.broadcast(x, self.activations, (token * self.key.padded_k()) as i64 + 4 * step);
    }

    fn planes_pass(&mut self, extent: Extent, panel: usize, w: Vector, x: &[Vector], sums: &[Vector]) {
        let part = self.e.vector();
        let mut shifted = 0;
        for (plane, Plane { shift, mask }) in self.plan.planes.iter().enumerate() {
            if *shift != shifted {
                self.e.shift_right_16(w, w, shift - shifted);
                shifted = *shift;
            }
            let bytes = self.masked(part, w, *mask);
            for (token, &x) in x.iter().enumerate() {
                self.dot(sums[extent.index((panel, token, plane))], bytes, x);
            }
        }
        self.e.release(part);
    }

    fn planes_stay(
        &mut self,
        extent: Extent,
        panel: usize,
        step: i64,
        w: Vector,
        x: Vector,
        sums: &[Vector],
    ) {
        let mut shifted = 0;
        let mut planes = Vec::new();
        let mut own = Vec::new();
        for Plane { shift, mask } in &self.plan.planes {
            if *shift != shifted {
                self.e.shift_right_16(w, w, shift - shifted);
                shifted = *shift;
            }
            if *mask == 0xFF {
                planes.push(w);
                continue;
            }
            let part = self.e.vector();
            own.push(part);
            planes.push(self.masked(part, w, *mask));
        }
        for token in 0..extent.tokens {
            self.broadcast(x, token, step);
            for (plane, &bytes) in planes.iter().enumerate() {
                self.dot(sums[extent.index((panel, token, plane))], bytes, x);
            }
        }
        self.release(own);
    }

    /// `w & mask`, in `part` unless the mask keeps everything.
    fn masked(&mut self, part: Vector, w: Vector, mask: u8) -> Vector {
        match self.masks.iter().find(|&&(known, _)| known == mask) {
            Some(&(_, mask)) => {
                self.e.and(part, w, mask);
                part
            }
            None => w,
        }
    }

    fn dot(&mut self, sum: Vector, w: Vector, x: Vector) {
        if self.ones.is_some() { self.e.dot_pairs(sum, w, x) } else { self.e.dot(sum, w, x) }
    }
}
