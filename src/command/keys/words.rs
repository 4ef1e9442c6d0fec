//! Where keys are, in words for an operator.

use std::fmt;

use super::{Begin, Find, KeySpec, Keys};

impl fmt::Display for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("no keys"),
            Self::One(spec) => spec.fmt(f),
            Self::Many(specs) => {
                for (at, spec) in specs.iter().enumerate() {
                    let comma = if at > 0 { ", " } else { "" };
                    write!(f, "{comma}{spec}")?;
                }
                Ok(())
            }
            Self::Parsed(_) => f.write_str("keys by its options"),
            Self::Unknown => f.write_str("keys unknown: refused to users without all keys"),
        }
    }
}

impl fmt::Display for KeySpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Begin::Index(begin) = self.begin else {
            return f.write_str("keys unknown");
        };
        match self.find {
            Find::Range { last, step, limit } => {
                let last = match last {
                    0.. => i32::from(begin) + i32::from(last),
                    _ => i32::from(last),
                };
                write!(f, "keys {begin}..{last}")?;
                if step > 1 {
                    write!(f, " step {step}")?;
                }
                if limit > 1 {
                    write!(f, ", the first 1/{limit} of them")?;
                }
                Ok(())
            }
            Find::Keynum { count, first, step } => {
                let at = |offset| u32::from(begin) + u32::from(offset);
                write!(
                    f,
                    "as many keys as argument {} says, from {}",
                    at(count),
                    at(first)
                )?;
                if step > 1 {
                    write!(f, " step {step}")?;
                }
                Ok(())
            }
            Find::Unknown => f.write_str("keys unknown"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Access;
    use super::*;

    #[test]
    fn places_are_told_as_command_does() {
        for (keys, words) in [
            (Keys::None, "no keys"),
            (Keys::range(1, 1, 1, Access::READ), "keys 1..1"),
            (Keys::range(2, -1, 2, Access::READ), "keys 2..-1 step 2"),
            (
                Keys::Unknown,
                "keys unknown: refused to users without all keys",
            ),
        ] {
            assert_eq!(keys.to_string(), words);
        }
        let counted = KeySpec {
            begin: Begin::Index(2),
            find: Find::Keynum {
                count: 0,
                first: 1,
                step: 1,
            },
            access: Access::READ,
        };
        let words = "as many keys as argument 2 says, from 3";
        assert_eq!(counted.to_string(), words);
    }
}
