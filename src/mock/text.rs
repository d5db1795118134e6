//! The text on a picture of the emulator, in a font of eight by eight pixels.

use font8x8::{BASIC_FONTS, GREEK_FONTS, HIRAGANA_FONTS, LATIN_FONTS, UnicodeFonts as _};

use super::picture::Caption;

/// Pixels of a letter, of a line, and around the text.
const LETTER: u32 = 8;
const LINE: u32 = 10;
const MARGIN: u32 = 4;

/// What stands for a letter that the fonts do not have.
const UNKNOWN: [u8; 8] = [0x7e, 0x42, 0x42, 0x42, 0x42, 0x42, 0x7e, 0];

/// What the text does to a pixel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ink {
    None,
    /// Behind the text, so that it can be read on every colour.
    Shade,
    Letter,
}

/// Lines at the top and at the bottom of a picture.
pub(super) struct Text {
    height: u32,
    top: Vec<Vec<[u8; 8]>>,
    bottom: Vec<Vec<[u8; 8]>>,
}

impl Text {
    pub(super) fn new(caption: &Caption, width: u32, height: u32) -> Self {
        let columns = (width.saturating_sub(2 * MARGIN) / LETTER).max(1) as usize;
        let bottom = lines(&format!("{} {width}x{height}", caption.line), columns);
        let rows = (height.saturating_sub(5 * MARGIN) / LINE) as usize;
        let mut top = lines(&caption.prompt, columns);
        top.truncate(rows.saturating_sub(bottom.len()));
        Self { height, top, bottom }
    }

    pub(super) fn at(&self, x: u32, y: u32) -> Ink {
        let span = |lines: &[_]| u32::try_from(lines.len()).unwrap_or(u32::MAX).saturating_mul(LINE) + 2 * MARGIN;
        let start = self.height.saturating_sub(span(&self.bottom));
        if y < span(&self.top) && !self.top.is_empty() {
            ink(&self.top, x, y)
        } else if y >= start {
            ink(&self.bottom, x, y - start)
        } else {
            Ink::None
        }
    }
}

/// At a place within a block of lines with its margin.
fn ink(lines: &[Vec<[u8; 8]>], x: u32, y: u32) -> Ink {
    let is_set = || {
        let (x, y) = (x.checked_sub(MARGIN)?, y.checked_sub(MARGIN)?);
        let letter = lines.get((y / LINE) as usize)?.get((x / LETTER) as usize)?;
        let row = letter.get((y % LINE) as usize)?;
        Some(row >> (x % LETTER) & 1 == 1)
    };
    if is_set() == Some(true) { Ink::Letter } else { Ink::Shade }
}

/// The words in lines of at most so many letters.
fn lines(text: &str, columns: usize) -> Vec<Vec<[u8; 8]>> {
    let mut lines: Vec<Vec<char>> = Vec::new();
    for word in text.split_whitespace() {
        let word: Vec<char> = word.chars().collect();
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= columns => {
                line.push(' ');
                line.extend(word);
            }
            _ => lines.extend(word.chunks(columns).map(<[char]>::to_vec)),
        }
    }
    lines.iter().map(|line| line.iter().map(|letter| glyph(*letter)).collect()).collect()
}

/// The rows of a letter, the leftmost pixel in the lowest bit.
fn glyph(letter: char) -> [u8; 8] {
    let fonts = BASIC_FONTS.get(letter).or_else(|| LATIN_FONTS.get(letter));
    fonts.or_else(|| GREEK_FONTS.get(letter)).or_else(|| HIRAGANA_FONTS.get(letter)).unwrap_or(UNKNOWN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_wrapped_and_long_ones_are_cut() {
        let lengths = |text: &str| lines(text, 6).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(lengths("a duck on water"), [6, 2, 5]);
        assert_eq!(lengths("lighthouses x"), [6, 5, 1]);
        assert_eq!(lengths("  "), [0; 0]);
    }

    #[test]
    fn a_letter_without_a_font_is_a_box() {
        assert_eq!(glyph('鴨'), UNKNOWN);
        for letter in ['A', 'ü', 'Ω', 'か'] {
            assert_ne!(glyph(letter), UNKNOWN, "{letter}");
        }
    }

    #[test]
    fn the_prompt_is_at_the_top_and_the_rest_at_the_bottom() {
        let caption = Caption { prompt: "l".to_owned(), ratio: None, line: "m".to_owned() };
        let text = Text::new(&caption, 80, 80);
        let has = |rows: std::ops::Range<u32>, ink| rows.clone().any(|y| (0..80).any(|x| text.at(x, y) == ink));
        assert!(has(0..18, Ink::Letter) && has(62..80, Ink::Letter));
        assert!(!has(18..62, Ink::Letter) && !has(18..62, Ink::Shade));
        let long = Caption { prompt: "word ".repeat(1000), ratio: None, line: "m".to_owned() };
        let text = Text::new(&long, 256, 85);
        assert_eq!(text.at(0, 84), Ink::Shade, "a long prompt leaves room for the rest");
        assert!(text.top.len() < 6);
    }
}
