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

#[cfg(test)]
mod tests {
    use std::fmt::{Debug, Display};
    use std::str::FromStr;

    use serde::Serialize;

    use super::{Named, UnknownName};
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
    fn choices_have_one_name_everywhere() {
        names_are_read_and_written::<WireFormat>();
        names_are_read_and_written::<Precision>();
    }
}
