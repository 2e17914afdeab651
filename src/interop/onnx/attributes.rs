//! Settings of a node, taken one by one, so that none is left which nobody understands.

use std::collections::BTreeMap;

use super::proto::{AttributeProto, NodeProto, TensorProto, attribute_proto::AttributeType};

/// The settings of a node that nobody has taken yet.
pub(super) struct Attributes<'a>(BTreeMap<&'a str, &'a AttributeProto>);

impl<'a> Attributes<'a> {
    /// All settings of `node`.
    pub(super) fn new(node: &'a NodeProto) -> Result<Self, String> {
        let mut attributes = BTreeMap::new();
        for attribute in &node.attribute {
            let name = attribute.name();
            if attributes.insert(name, attribute).is_some() {
                return Err(format!("attribute {name} is there twice"));
            }
            if !attribute.ref_attr_name().is_empty() {
                return Err(format!("attribute {name} refers to one of a function, which is not supported"));
            }
        }
        Ok(Self(attributes))
    }

    /// Refuses what is left.
    pub(super) fn finish(self) -> Result<(), String> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(name) => Err(format!("attribute {name} is not supported")),
        }
    }

    /// Takes an attribute; one of another type is refused. Files before version 3 of the format do not say the type.
    fn take(&mut self, name: &str, wanted: AttributeType) -> Result<Option<&'a AttributeProto>, String> {
        let Some(attribute) = self.0.remove(name) else { return Ok(None) };
        let found = attribute.r#type();
        if found == wanted || found == AttributeType::Undefined && attribute.r#type.unwrap_or(0) == 0 {
            return Ok(Some(attribute));
        }
        Err(format!("attribute {name} is not of type {}", wanted.as_str_name()))
    }

    pub(super) fn int(&mut self, name: &str) -> Result<Option<i64>, String> {
        Ok(self.take(name, AttributeType::Int)?.map(AttributeProto::i))
    }

    pub(super) fn float(&mut self, name: &str) -> Result<Option<f32>, String> {
        Ok(self.take(name, AttributeType::Float)?.map(AttributeProto::f))
    }

    pub(super) fn ints(&mut self, name: &str) -> Result<Option<Vec<i64>>, String> {
        Ok(self.take(name, AttributeType::Ints)?.map(|attribute| attribute.ints.clone()))
    }

    pub(super) fn floats(&mut self, name: &str) -> Result<Option<&'a [f32]>, String> {
        Ok(self.take(name, AttributeType::Floats)?.map(|attribute| &attribute.floats[..]))
    }

    pub(super) fn text(&mut self, name: &str) -> Result<Option<&'a str>, String> {
        let Some(attribute) = self.take(name, AttributeType::String)? else { return Ok(None) };
        std::str::from_utf8(attribute.s()).map(Some).map_err(|_| format!("attribute {name} is not UTF-8"))
    }

    pub(super) fn tensor(&mut self, name: &str) -> Result<Option<&'a TensorProto>, String> {
        let Some(attribute) = self.take(name, AttributeType::Tensor)? else { return Ok(None) };
        attribute.t.as_ref().map(Some).ok_or_else(|| format!("attribute {name} holds no tensor"))
    }

    /// A switch, 0 or 1.
    pub(super) fn switch(&mut self, name: &str) -> Result<bool, String> {
        match self.int(name)? {
            None | Some(0) => Ok(false),
            Some(1) => Ok(true),
            Some(other) => Err(format!("attribute {name} is {other}, not 0 or 1")),
        }
    }

    /// Counts, none of which is negative.
    pub(super) fn counts(&mut self, name: &str) -> Result<Option<Vec<usize>>, String> {
        let Some(numbers) = self.ints(name)? else { return Ok(None) };
        let count = |&number: &i64| usize::try_from(number).ok();
        let counts: Option<Vec<usize>> = numbers.iter().map(count).collect();
        counts
            .map(Some)
            .ok_or_else(|| format!("attribute {name} {numbers:?} has negative numbers, which is not supported"))
    }

    /// Drops attributes that change nothing in evaluation.
    pub(super) fn ignore(&mut self, names: &[&str]) {
        self.0.retain(|name, _| !names.contains(name));
    }
}
