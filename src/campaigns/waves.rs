//! How a fleet is split into waves.

use super::Refused;

/// Most waves of one campaign.
pub const MOST_WAVES: usize = 500;

/// How large one wave is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// So many hubs.
    Hubs(usize),
    /// So many of a hundred, of all hubs of the campaign, rounded up.
    Percent(usize),
    /// All that are left.
    Rest,
}

impl Size {
    /// Reads sizes with commas between them, such as `5,25%,rest`.
    ///
    /// # Errors
    /// The first that is none.
    pub fn list(field: &str, text: &str) -> Result<Vec<Self>, Refused> {
        let sizes: Vec<Self> =
            text.split(',').map(|part| Self::one(field, part.trim())).collect::<Result<_, _>>()?;
        match sizes.iter().position(|size| *size == Size::Rest) {
            Some(at) if at + 1 < sizes.len() => {
                Err(Refused::new(field, "nothing can come after `rest`", "write `rest` last, or not at all"))
            }
            _ => Ok(sizes),
        }
    }

    fn one(field: &str, text: &str) -> Result<Self, Refused> {
        let fix = "write a number of hubs from 1 on, a percentage from `1%` to `100%`, or `rest`";
        let wrong = |message: String| Err(Refused::new(field, message, fix));
        if text.eq_ignore_ascii_case("rest") {
            return Ok(Size::Rest);
        }
        let (digits, is_percent) = match text.strip_suffix('%') {
            Some(digits) => (digits.trim(), true),
            None => (text, false),
        };
        let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        match digits.parse::<usize>().ok().filter(|_| is_number) {
            None => wrong(format!("`{}` is no size of a wave", text.chars().take(40).collect::<String>())),
            Some(0) => wrong("a wave of 0 hubs makes no sense".to_owned()),
            Some(number) if is_percent && number > 100 => wrong(format!("{number}% is more than all hubs")),
            Some(number) if is_percent => Ok(Size::Percent(number)),
            Some(number) => Ok(Size::Hubs(number)),
        }
    }

    fn of(self, all: usize, left: usize) -> usize {
        let size = match self {
            Size::Hubs(number) => number,
            Size::Percent(percent) => all.saturating_mul(percent).div_ceil(100),
            Size::Rest => left,
        };
        size.clamp(1, left.max(1))
    }
}

/// How many hubs each wave has. The last size comes again until no hub is left.
///
/// # Errors
/// No hub, no size, or too many waves.
pub fn split(all: usize, sizes: &[Size]) -> Result<Vec<usize>, Refused> {
    let Some(last) = sizes.last() else {
        return Err(Refused::new("--waves", "there are no waves", "write for example `10%,rest`"));
    };
    let (mut waves, mut left) = (Vec::new(), all);
    while left > 0 {
        let size = sizes.get(waves.len()).unwrap_or(last).of(all, left);
        waves.push(size);
        left -= size;
        if waves.len() > MOST_WAVES {
            let message = format!("these are more than {MOST_WAVES} waves");
            return Err(Refused::new("--waves", message, "make the last size larger, or write `rest`"));
        }
    }
    Ok(waves)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waves(all: usize, text: &str) -> Vec<usize> {
        split(all, &Size::list("--waves", text).unwrap()).unwrap()
    }

    #[test]
    fn every_hub_is_in_one_wave() {
        assert_eq!(waves(30, "1,5,rest"), [1, 5, 24]);
        assert_eq!(waves(30, "1, 10%, 50%"), [1, 3, 15, 11]);
        assert_eq!(waves(7, "1,2"), [1, 2, 2, 2]);
        assert_eq!(waves(3, "1,5,rest"), [1, 2]);
        assert_eq!(waves(1, "1%"), [1]);
        assert_eq!(waves(10_000, "1,5%,25%,rest"), [1, 500, 2500, 6999]);
        assert_eq!(waves(0, "1"), [0_usize; 0]);
    }

    #[test]
    fn what_is_no_size_is_refused_with_the_fix() {
        for text in ["", "0", "5,0,rest", "-1", "+1", "101%", "0%", "rest,1", "half", "1,,2", "1.5"] {
            let refused = Size::list("--waves", text).unwrap_err();
            assert!(refused.to_string().starts_with("--waves: "), "{text}: {refused}");
        }
        assert!(split(10_000, &[Size::Hubs(1)]).unwrap_err().message.contains("more than 500 waves"));
    }
}
