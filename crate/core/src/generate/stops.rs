//! Stop strings in a stream of text.

/// Watches a stream of text for stop strings, holding back what may become one.
pub(super) struct Stops {
    stops: Vec<String>,
    held: String,
}

impl Stops {
    pub fn new(stops: Vec<String>) -> Self {
        Self { stops, held: String::new() }
    }

    /// What may be shown now, and whether a stop string came.
    fn push(&mut self, text: &str) -> (String, bool) {
        self.held.push_str(text);
        if let Some(at) = self.stops.iter().filter_map(|stop| self.held.find(stop.as_str())).min() {
            self.held.truncate(at);
            return (std::mem::take(&mut self.held), true);
        }
        let keep = self.stops.iter().map(|stop| overlap(&self.held, stop)).max().unwrap_or(0);
        let shown = self.held.len() - keep;
        let rest = self.held.split_off(shown);
        (std::mem::replace(&mut self.held, rest), false)
    }

    /// Adds what may be shown now to `shown`; whether a stop string came.
    pub fn show(&mut self, text: &str, shown: &mut String) -> bool {
        let (text, stopped) = self.push(text);
        shown.push_str(&text);
        stopped
    }

    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

/// Length of the longest end of `text` with which `stop` begins.
fn overlap(text: &str, stop: &str) -> usize {
    let ends = stop.char_indices().map(|(i, _)| i).rev();
    ends.filter(|&n| n <= text.len() && text.is_char_boundary(text.len() - n))
        .find(|&n| text.ends_with(&stop[..n]))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_string_across_pieces_is_never_shown() {
        let mut stops = Stops::new(vec!["END".into(), "\n\n".into()]);
        let pieces = ["one E", "N", "or two\n", "EN", "D three"];
        let mut shown = String::new();
        let mut stopped = false;
        for piece in pieces {
            let (text, stop) = stops.push(piece);
            shown.push_str(&text);
            stopped |= stop;
        }
        assert_eq!((shown.as_str(), stopped), ("one ENor two\n", true));
    }

    #[test]
    fn text_held_back_for_a_stop_string_comes_in_the_end() {
        let mut stops = Stops::new(vec!["é!".into()]);
        let (text, stopped) = stops.push("café");
        assert_eq!((text.as_str(), stopped), ("caf", false));
        assert_eq!(stops.finish(), "é");
    }
}
