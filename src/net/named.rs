//! Enums whose values have names, the same in configuration files and on the command line.

/// A fixed set of values, each with its name.
pub trait Named: Copy + Send + Sync + 'static {
    /// Every value, its name, and what it stands for.
    const ALL: &'static [(Self, &'static str, &'static str)];
}

/// A word that is none of the names of a [`Named`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is none of {}", known.join(", "))]
pub struct UnknownName {
    /// Word that was found.
    pub found: String,
    /// Names that were expected.
    pub known: &'static [&'static str],
}

/// Gives an enum its names, as [`Named`], `FromStr` and `Display`.
macro_rules! named {
    ($type:ident: $($value:ident $name:literal $help:literal),+) => {
        impl $crate::net::Named for $type {
            const ALL: &'static [(Self, &'static str, &'static str)] = &[$((Self::$value, $name, $help)),+];
        }

        impl std::str::FromStr for $type {
            type Err = $crate::net::UnknownName;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($name => Ok(Self::$value),)+
                    _ => Err($crate::net::UnknownName { found: text.into(), known: &[$($name),+] }),
                }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(match self {
                    $(Self::$value => $name,)+
                })
            }
        }
    };
}

pub(crate) use named;

/// The one of `names` that was most likely meant by `name`, which is none of them.
pub fn near<'n>(name: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let most = 1 + name.chars().count() / 4;
    let distances = names.into_iter().map(|known| (strsim::damerau_levenshtein(name, known), known));
    distances.filter(|(distance, _)| *distance <= most).min_by_key(|(distance, _)| *distance).map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use std::fmt::{Debug, Display};
    use std::str::FromStr;

    use serde::Serialize;

    use super::{Named, UnknownName, near};
    use crate::net::{Precision, WireFormat};

    fn names_are_read_and_written<T>()
    where
        T: Named + PartialEq + Debug + Display + FromStr<Err = UnknownName> + Serialize,
    {
        for (value, name, _) in T::ALL {
            assert_eq!((name.parse(), value.to_string()), (Ok(*value), (*name).to_owned()));
            assert_eq!(serde_json::to_value(value).unwrap(), *name, "the same name in configuration files");
        }
        let refused = "nothing".parse::<T>().unwrap_err().to_string();
        assert!(T::ALL.iter().all(|(_, name, _)| refused.contains(name)), "{refused}");
    }

    #[test]
    fn a_slip_of_a_letter_or_two_is_known() {
        let known = ["alexnet", "alexnet-2012", "mini"];
        for (found, meant) in
            [("alexnett", "alexnet"), ("alxenet", "alexnet"), ("mni", "mini"), ("alexnet2012", "alexnet-2012")]
        {
            assert_eq!(near(found, known), Some(meant));
        }
        assert_eq!(near("resnet50", known), None);
    }

    #[test]
    fn choices_have_one_name_everywhere() {
        names_are_read_and_written::<WireFormat>();
        names_are_read_and_written::<Precision>();
    }
}
