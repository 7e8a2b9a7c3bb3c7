//! The nearest known word, and how a value from outside is shown.

use std::borrow::Cow;

/// Longer words are not compared: nobody mistypes a name of this length, and the time that a
/// comparison takes grows with the square of it.
const LONGEST_COMPARED: usize = 64;

/// Longest value that is quoted in a mistake, in characters.
const LONGEST_SHOWN: usize = 300;

/// The known word that was probably meant by `word`, if any is near enough.
///
/// Words that differ only in case, `-` or `_` are always near; otherwise about one letter in four
/// may be wrong. `word` itself is never suggested.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > LONGEST_COMPARED {
        return None;
    }
    let plain = |text: &str| {
        text.chars().filter(|c| !"-_ ".contains(*c)).flat_map(char::to_lowercase).collect::<String>()
    };
    let given = plain(word);
    let allowed = given.chars().count().max(3).div_ceil(4);
    known
        .into_iter()
        .filter(|candidate| *candidate != word)
        .map(|candidate| (strsim::damerau_levenshtein(&given, &plain(candidate)), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// A value from outside as it is quoted in a mistake: on one line, with anything invisible escaped,
/// and not too long.
pub fn shown(text: &str) -> Cow<'_, str> {
    let plain = |c: char| !c.is_control() && !is_invisible(c);
    if text.len() <= LONGEST_SHOWN && text.chars().all(plain) {
        return Cow::Borrowed(text);
    }
    let mut out = String::new();
    for (nth, c) in text.chars().enumerate() {
        match c {
            _ if nth >= LONGEST_SHOWN => {
                out.push('…');
                break;
            }
            c if plain(c) => out.push(c),
            c => out.extend(c.escape_default()),
        }
    }
    Cow::Owned(out)
}

/// Characters that change how a text looks without being seen: zero-width and direction marks. A
/// reviewer cannot see what they do, so no value may have them.
pub(super) fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_found_and_far_ones_are_not() {
        let known = ["condition", "endpoint", "name", "source", "maxHubsChanged"];
        assert_eq!(nearest("conditon", known), Some("condition"));
        assert_eq!(nearest("max_hubs_changed", known), Some("maxHubsChanged"));
        assert_eq!(nearest("Name", known), Some("name"));
        assert_eq!(nearest("colour", known), None);
        assert_eq!(nearest("", known), None);
        assert_eq!(nearest(&"n".repeat(1_000_000), known), None);
    }

    #[test]
    fn what_is_shown_is_short_and_on_one_line() {
        assert_eq!(shown("a\nb\u{202e}c"), "a\\nb\\u{202e}c");
        assert_eq!(shown(&"x".repeat(1000)).chars().count(), LONGEST_SHOWN + 1);
    }
}
