//! Parameters of a run: extents, switches and numbers, which become constants of the shader, and what maps are stored
//! as.

use serde::{Serialize, Serializer};

use super::Elem;

/// A parameter's value; floats are kept as bits so that parameters can be compared and hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Value {
    /// A count, extent or index: WGSL `u32`.
    U32(u32),
    /// A real number: the bits of a WGSL `f32`.
    F32(u32),
    /// A switch: WGSL `bool`.
    Bool(bool),
}

/// A Rust type that can be a kernel parameter.
pub trait Param: Copy {
    /// The number as the value of a parameter.
    fn value(self) -> Value;
    /// Back from the value; `None` when it is of another type.
    fn from_value(value: Value) -> Option<Self>;
}

impl Param for usize {
    fn value(self) -> Value {
        Value::U32(u32::try_from(self).unwrap_or(u32::MAX))
    }
    fn from_value(value: Value) -> Option<Self> {
        if let Value::U32(v) = value { Some(v as usize) } else { None }
    }
}

impl Param for f32 {
    fn value(self) -> Value {
        Value::F32(self.to_bits())
    }
    fn from_value(value: Value) -> Option<Self> {
        if let Value::F32(bits) = value { Some(f32::from_bits(bits)) } else { None }
    }
}

impl Param for bool {
    fn value(self) -> Value {
        Value::Bool(self)
    }
    fn from_value(value: Value) -> Option<Self> {
        if let Value::Bool(v) = value { Some(v) } else { None }
    }
}

/// The parameters of one run of a kernel, in declaration order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Params {
    entries: Vec<(&'static str, Value)>,
    maps: Elem,
}

impl Params {
    /// From names and values.
    pub fn new(entries: Vec<(&'static str, Value)>) -> Self {
        Self { entries, maps: Elem::F32 }
    }

    /// Type of the elements of maps: [`Elem::F32`] unless said, or [`Elem::F16`].
    pub const fn storage(&self) -> Elem {
        self.maps
    }

    /// The same with maps stored as `maps`.
    #[must_use]
    pub fn with_storage(self, maps: Elem) -> Self {
        Self { maps, ..self }
    }

    /// Names and values, in the order of their declaration.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, Value)> {
        self.entries.iter().copied()
    }

    /// The value of the parameter called `name`.
    ///
    /// # Panics
    /// When the kernel was not given it: a slip in an op, found by its first case.
    pub fn get<P: Param>(&self, name: &str) -> P {
        self.find(name).unwrap_or_else(|| panic!("kernel parameter {name} is missing or of another type"))
    }

    /// The parameter `name`; `None` where it is missing or of another type.
    #[must_use]
    pub fn find<P: Param>(&self, name: &str) -> Option<P> {
        self.entries.iter().find(|(n, _)| *n == name).and_then(|&(_, v)| P::from_value(v))
    }

    /// These parameters with another value of `name`.
    #[must_use]
    pub fn replaced<P: Param>(&self, name: &str, value: P) -> Self {
        let replace = |&(n, old): &(&'static str, Value)| (n, if n == name { value.value() } else { old });
        Self { entries: self.entries.iter().map(replace).collect(), maps: self.maps }
    }

    /// These parameters followed by a variant's tile.
    #[must_use]
    pub fn with(&self, tile: &[(&'static str, usize)]) -> Self {
        let extra = tile.iter().map(|&(name, extent)| (name, extent.value()));
        Self { entries: self.entries.iter().copied().chain(extra).collect(), maps: self.maps }
    }
}

/// `c=3 h=224 stride_x=4`, and so on; at the end `maps=f16` where they are.
impl std::fmt::Display for Params {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, (name, value)) in self.entries.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { " " })?;
            match value {
                Value::U32(v) => write!(f, "{name}={v}"),
                Value::F32(bits) => write!(f, "{name}={}", f32::from_bits(*bits)),
                Value::Bool(v) => write!(f, "{name}={v}"),
            }?;
        }
        if self.maps == Elem::F16 { f.write_str(" maps=f16") } else { Ok(()) }
    }
}

/// A table of names and values, as model files write the settings of a layer.
impl Serialize for Params {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match *self {
            Self::U32(value) => serializer.serialize_u32(value),
            Self::F32(bits) => serializer.serialize_f32(f32::from_bits(bits)),
            Self::Bool(value) => serializer.serialize_bool(value),
        }
    }
}

/// Declares the parameters of an op's kernels: a struct that turns into [`Params`] and back.
#[macro_export]
macro_rules! params {
    ($(#[$meta:meta])* $vis:vis struct $Name:ident { $($(#[$doc:meta])* $field:ident: $ty:ty,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq)]
        $vis struct $Name { $($(#[$doc])* pub $field: $ty,)* }

        impl $Name {
            /// The parameters of a run, by the names of the fields.
            pub fn params(&self) -> $crate::kernel::Params {
                $crate::kernel::Params::new(vec![$((stringify!($field), $crate::kernel::Param::value(self.$field)),)*])
            }

        }

        impl From<&$crate::kernel::Params> for $Name {
            fn from(params: &$crate::kernel::Params) -> Self {
                Self { $($field: params.get(stringify!($field)),)* }
            }
        }
    };
}
