//! Cutting bytes into lines.

use std::borrow::Cow;

/// Gathers bytes into lines of bounded length.
#[derive(Debug)]
pub struct Lines {
    unfinished: Vec<u8>,
    longest: usize,
}

impl Lines {
    /// Lines of at most this many bytes (at least 4); a longer one is split.
    pub fn new(longest: usize) -> Self {
        Self {
            unfinished: Vec::new(),
            longest: longest.max(4),
        }
    }

    /// Adds bytes, and hands on each line that is complete, without its end. Bytes that are no UTF-8 are replaced.
    pub fn push(&mut self, mut bytes: &[u8], mut line: impl FnMut(Cow<'_, str>)) {
        while let Some(&first) = bytes.first() {
            let room = self.longest - self.unfinished.len();
            // One more than fits: the end of a line that just fits.
            let seen = &bytes[..bytes.len().min(room + 1)];
            if let Some(end) = seen.iter().position(|&byte| byte == b'\n') {
                self.unfinished.extend_from_slice(&seen[..end]);
                bytes = &bytes[end + 1..];
                self.hand_on(self.unfinished.len(), &mut line);
            } else if room > 0 {
                let taken = seen.len().min(room);
                self.unfinished.extend_from_slice(&seen[..taken]);
                bytes = &bytes[taken..];
            } else {
                // Full, and more follows. No character is cut in two.
                let cut = if is_continuation(first) {
                    last_character_start(&self.unfinished)
                } else {
                    self.longest
                };
                self.hand_on(cut, &mut line);
            }
        }
    }

    /// Hands on what is left when no more bytes will come.
    pub fn finish(&mut self, mut line: impl FnMut(Cow<'_, str>)) {
        if !self.unfinished.is_empty() {
            self.hand_on(self.unfinished.len(), &mut line);
        }
    }

    fn hand_on(&mut self, bytes: usize, line: &mut impl FnMut(Cow<'_, str>)) {
        let text = &self.unfinished[..bytes];
        line(String::from_utf8_lossy(text.strip_suffix(b"\r").unwrap_or(text)));
        self.unfinished.drain(..bytes);
    }
}

fn is_continuation(byte: u8) -> bool {
    byte & 0b1100_0000 == 0b1000_0000
}

/// Where the last character starts, if it is one of UTF-8 that may go on; else the end.
fn last_character_start(bytes: &[u8]) -> usize {
    let start = bytes.iter().rposition(|&byte| !is_continuation(byte)).unwrap_or(0);
    let is_of_utf_8 = start > 0 && bytes.len() - start < 4 && bytes[start] >= 0b1100_0000;
    if is_of_utf_8 { start } else { bytes.len() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cut(chunks: &[&[u8]], longest: usize) -> Vec<String> {
        let mut lines = Lines::new(longest);
        let mut found = Vec::new();
        for chunk in chunks {
            lines.push(chunk, |line| found.push(line.into_owned()));
        }
        lines.finish(|line| found.push(line.into_owned()));
        found
    }

    #[test]
    fn lines_come_whole_however_they_were_written() {
        assert_eq!(cut(&[b"one\ntw", b"o\r\n", b"\nlast"], 100), ["one", "two", "", "last"]);
        assert!(cut(&[b""], 100).is_empty());
    }

    #[test]
    fn a_line_that_just_fits_is_one_line_and_a_longer_one_is_split() {
        assert_eq!(cut(&[b"12345678\n1\n"], 8), ["12345678", "1"]);
        assert_eq!(cut(&[b"1234", b"5678", b"\n1\n"], 8), ["12345678", "1"]);
        assert_eq!(cut(&[b"123456789\n"], 8), ["12345678", "9"]);
    }

    #[test]
    fn no_character_is_cut_in_two_and_other_bytes_are_replaced() {
        assert_eq!(cut(&["123\u{20ac}56\n".as_bytes()], 5), ["123", "\u{20ac}56"]);
        assert_eq!(cut(&[b"a\xffb\n"], 8), ["a\u{fffd}b"]);
        assert_eq!(cut(&[&[0x80; 20]], 8).len(), 3);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_whatever_the_chunks(text in "[a-c\u{e4}\u{20ac}\n]{0,60}", at in 0_usize..100, longest in 4_usize..12) {
            let at = at.min(text.len());
            let chunks = [&text.as_bytes()[..at], &text.as_bytes()[at..]];
            let lines = cut(&chunks, longest);
            prop_assert_eq!(lines.concat(), text.replace('\n', ""));
            prop_assert!(lines.iter().all(|line| line.len() <= longest));
            prop_assert_eq!(lines, cut(&[text.as_bytes()], longest));
        }
    }
}
