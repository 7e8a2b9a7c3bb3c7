//! What is wrong with a document, where, and how to put it right.

use std::fmt;

use serde::Serialize;

/// How many mistakes are kept. A text with more was probably never meant to be this document; the
/// rest is counted, so that nobody takes the list for complete.
const MAX_KEPT: usize = 100;

/// A place in a text. Both numbers begin at 1; the column counts characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Mistake {
    /// Where it stands in the text. `None` for values that did not come from a text.
    #[serde(flatten)]
    pub at: Option<Position>,
    /// Where it stands in the document, such as `profiles[0].endpoints[1].as`. Empty for the
    /// document as a whole.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub fix: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Mistake { at, path, message, fix } = self;
        match (at, path.is_empty()) {
            (Some(at), true) => write!(f, "line {}: ", at.line)?,
            (Some(at), false) => write!(f, "line {}, {path}: ", at.line)?,
            (None, true) => {}
            (None, false) => write!(f, "{path}: ")?,
        }
        write!(f, "{message}; fix: {fix}")
    }
}

/// All mistakes of one document, in the order of its text. As an error it is never empty.
///
/// `Display` prints one mistake per paragraph.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Mistakes {
    mistakes: Vec<Mistake>,
    /// How many more there are than are listed.
    #[serde(rename = "notShown")]
    not_shown: usize,
}

impl Mistakes {
    /// Adds one mistake.
    pub fn push(&mut self, mistake: Mistake) {
        if self.mistakes.len() < MAX_KEPT {
            self.mistakes.push(mistake);
        } else {
            self.count_one();
        }
    }

    /// Whether no more are kept, only counted.
    pub(super) fn is_full(&self) -> bool {
        self.mistakes.len() >= MAX_KEPT
    }

    /// Counts one that is not kept.
    pub(super) fn count_one(&mut self) {
        self.not_shown += 1;
    }

    /// The same mistakes about a document of which the checked one was made: every path is put into the
    /// words of that one.
    pub fn at_paths(mut self, path: impl Fn(&str) -> String) -> Self {
        for mistake in &mut self.mistakes {
            mistake.path = path(&mistake.path);
        }
        self
    }

    /// Adds all of others.
    pub fn append(&mut self, others: Mistakes) {
        self.not_shown += others.not_shown;
        self.extend(others.mistakes);
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        let Mistakes { mistakes, not_shown } = self;
        mistakes.is_empty() && *not_shown == 0
    }

    /// How many there are, with those that are not listed.
    pub fn len(&self) -> usize {
        self.mistakes.len() + self.not_shown
    }

    /// The mistakes that are listed.
    pub fn iter(&self) -> std::slice::Iter<'_, Mistake> {
        self.mistakes.iter()
    }

    /// `value`, unless there are mistakes; they come in the order of the text.
    ///
    /// # Errors
    /// The mistakes themselves.
    pub fn or<T>(mut self, value: T) -> Result<T, Mistakes> {
        if self.is_empty() {
            return Ok(value);
        }
        self.mistakes.sort_by(|a, b| (a.at, &a.path).cmp(&(b.at, &b.path)));
        self.mistakes.dedup();
        Err(self)
    }
}

impl From<Mistake> for Mistakes {
    fn from(mistake: Mistake) -> Self {
        Mistakes { mistakes: vec![mistake], not_shown: 0 }
    }
}

impl Extend<Mistake> for Mistakes {
    fn extend<I: IntoIterator<Item = Mistake>>(&mut self, mistakes: I) {
        mistakes.into_iter().for_each(|mistake| self.push(mistake));
    }
}

impl<'a> IntoIterator for &'a Mistakes {
    type Item = &'a Mistake;
    type IntoIter = std::slice::Iter<'a, Mistake>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl IntoIterator for Mistakes {
    type Item = Mistake;
    type IntoIter = std::vec::IntoIter<Mistake>;
    fn into_iter(self) -> Self::IntoIter {
        self.mistakes.into_iter()
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Mistakes { mistakes, not_shown } = self;
        for (nth, mistake) in mistakes.iter().enumerate() {
            if nth > 0 {
                f.write_str("\n\n")?;
            }
            write!(f, "{mistake}")?;
        }
        if *not_shown > 0 {
            write!(f, "\n\nand {not_shown} more")?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}
