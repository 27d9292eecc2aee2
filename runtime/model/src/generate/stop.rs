//! Stop strings, which may begin in one token's text and end in another's.

/// Lets text through except what may be the beginning of a stop string, and ends at the first one found.
#[derive(Debug, Clone, Default)]
pub(crate) struct StopFilter {
    stops: Vec<String>,
    held: String,
}

impl StopFilter {
    /// A filter for `stops`; empty strings are ignored.
    pub(crate) fn new(stops: &[String]) -> Self {
        Self { stops: stops.iter().filter(|stop| !stop.is_empty()).cloned().collect(), held: String::new() }
    }

    /// Takes more text. Answers what may be shown, and which stop string was reached, if one was: it is not shown, nor
    /// is what follows it.
    pub(crate) fn push(&mut self, text: &str) -> (String, Option<String>) {
        self.held.push_str(text);
        let found = self
            .stops
            .iter()
            .filter_map(|stop| self.held.find(stop.as_str()).map(|at| (at, stop)))
            // The first to be complete, whatever the pieces; of those the longest.
            .min_by_key(|&(at, stop)| (at + stop.len(), at));
        if let Some((at, stop)) = found {
            let stop = stop.clone();
            self.held.truncate(at);
            return (std::mem::take(&mut self.held), Some(stop));
        }
        let kept = self.held.len() - self.possible_beginning();
        let rest = self.held.split_off(kept);
        (std::mem::replace(&mut self.held, rest), None)
    }

    /// Everything still held back: no more text will come.
    pub(crate) fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Bytes of the longest end of the held text that begins a stop string.
    fn possible_beginning(&self) -> usize {
        let starts = self.held.char_indices().map(|(at, _)| &self.held[at..]);
        starts
            .filter(|end| self.stops.iter().any(|stop| stop.starts_with(end)))
            .map(str::len)
            .max()
            .unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn filter(stops: &[&str]) -> StopFilter {
        StopFilter::new(&stops.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn a_stop_string_may_span_pieces() {
        let mut filter = filter(&["\n\nclass", "é!"]);
        assert_eq!(filter.push("a\n"), ("a".into(), None));
        assert_eq!(filter.push("\ncl"), (String::new(), None));
        assert_eq!(filter.push("ever é"), ("\n\nclever ".into(), None));
        assert_eq!(filter.push("! b"), (String::new(), Some("é!".into())));
    }

    #[test]
    fn what_was_held_comes_out_at_the_end() {
        let mut filter = filter(&["stop"]);
        assert_eq!(filter.push("sto"), (String::new(), None));
        assert_eq!(filter.finish(), "sto");
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(pieces in prop::collection::vec("[ab]{0,3}", 0..8), stops in prop::collection::vec("[ab]{1,4}", 0..3)) {
            let whole = pieces.concat();
            let first = stops.iter().filter_map(|stop| whole.find(stop.as_str()).map(|at| (at + stop.len(), at))).min();
            let mut filter = StopFilter::new(&stops);
            let mut shown = String::new();
            let mut stopped = false;
            for piece in &pieces {
                let (text, stop) = filter.push(piece);
                shown.push_str(&text);
                stopped = stop.is_some();
                if stopped { break; }
            }
            prop_assert_eq!(stopped, first.is_some());
            shown.push_str(&filter.finish());
            prop_assert_eq!(shown, &whole[..first.map_or(whole.len(), |(_, at)| at)]);
        }
    }
}
