//! Attributes of a node, taken one by one, so that any that nobody takes is noticed.

use std::collections::BTreeMap;

use super::error::NodeError;
use super::proto::{AttributeProto, GraphProto, NodeProto, TensorProto, attribute_proto::AttributeType};

/// Attributes of a node that have not been taken yet.
pub(super) struct Attributes<'a> {
    pub(super) node: &'a NodeProto,
    /// Version of ONNX's own operators.
    pub(super) version: i64,
    left: BTreeMap<&'a str, &'a AttributeProto>,
}

impl<'a> Attributes<'a> {
    pub(super) fn new(node: &'a NodeProto, version: i64) -> Result<Self, NodeError> {
        let mut left = BTreeMap::new();
        for attribute in &node.attribute {
            let name = attribute.name();
            if left.insert(name, attribute).is_some() {
                return Err(NodeError::Repeated(name.into()));
            }
            if !attribute.ref_attr_name().is_empty() {
                return Err(NodeError::Reference(name.into()));
            }
        }
        Ok(Self { node, version, left })
    }

    /// Refuses attributes that have not been taken.
    pub(super) fn finish(self) -> Result<(), NodeError> {
        match self.left.keys().next() {
            None => Ok(()),
            Some(&name) => Err(NodeError::Attribute(name.into())),
        }
    }

    /// Takes an attribute of type `expected`. Files before version 3 of the format do not have the type.
    fn take(&mut self, name: &'static str, expected: AttributeType) -> Result<Option<&'a AttributeProto>, NodeError> {
        let Some(attribute) = self.left.remove(name) else { return Ok(None) };
        let found = attribute.r#type();
        if found == expected || found == AttributeType::Undefined && attribute.r#type.unwrap_or(0) == 0 {
            return Ok(Some(attribute));
        }
        Err(NodeError::Type { name, found: found.as_str_name(), expected: expected.as_str_name() })
    }

    pub(super) fn int(&mut self, name: &'static str) -> Result<Option<i64>, NodeError> {
        Ok(self.take(name, AttributeType::Int)?.map(AttributeProto::i))
    }

    pub(super) fn float(&mut self, name: &'static str) -> Result<Option<f32>, NodeError> {
        Ok(self.take(name, AttributeType::Float)?.map(AttributeProto::f))
    }

    pub(super) fn ints(&mut self, name: &'static str) -> Result<Option<&'a [i64]>, NodeError> {
        Ok(self.take(name, AttributeType::Ints)?.map(|attribute| &attribute.ints[..]))
    }

    pub(super) fn floats(&mut self, name: &'static str) -> Result<Option<&'a [f32]>, NodeError> {
        Ok(self.take(name, AttributeType::Floats)?.map(|attribute| &attribute.floats[..]))
    }

    pub(super) fn text(&mut self, name: &'static str) -> Result<Option<&'a str>, NodeError> {
        let Some(attribute) = self.take(name, AttributeType::String)? else { return Ok(None) };
        let text = std::str::from_utf8(attribute.s());
        text.map(Some).map_err(|_| NodeError::value(name, &"not UTF-8", &"text"))
    }

    /// What a word stands for, the first of those `known` where the attribute is absent.
    pub(super) fn choice<T: Copy>(&mut self, name: &'static str, known: &[(&str, T)]) -> Result<T, NodeError> {
        let found = self.text(name)?;
        let chosen = known.iter().find(|(word, _)| found.is_none_or(|found| found == *word));
        chosen.map(|(_, meaning)| *meaning).ok_or_else(|| {
            let known = known.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
            NodeError::Choice { name, found: found.unwrap_or_default().into(), known }
        })
    }

    pub(super) fn tensor(&mut self, name: &'static str) -> Result<Option<&'a TensorProto>, NodeError> {
        let Some(attribute) = self.take(name, AttributeType::Tensor)? else { return Ok(None) };
        attribute.t.as_ref().map(Some).ok_or_else(|| NodeError::value(name, &"empty", &"a tensor"))
    }

    pub(super) fn graph(&mut self, name: &'static str) -> Result<&'a GraphProto, NodeError> {
        let attribute = self.take(name, AttributeType::Graph)?.ok_or(NodeError::Missing(name))?;
        attribute.g.as_ref().ok_or_else(|| NodeError::value(name, &"empty", &"a graph"))
    }

    /// Takes a switch, off where it is absent.
    pub(super) fn switch(&mut self, name: &'static str) -> Result<bool, NodeError> {
        match self.int(name)? {
            None | Some(0) => Ok(false),
            Some(1) => Ok(true),
            Some(other) => Err(NodeError::value(name, &other, &"0 or 1")),
        }
    }

    /// Takes a count of 1 or more.
    pub(super) fn count(&mut self, name: &'static str) -> Result<Option<usize>, NodeError> {
        let Some(number) = self.int(name)? else { return Ok(None) };
        let count = usize::try_from(number).ok().filter(|&count| count > 0);
        count.map(Some).ok_or_else(|| NodeError::value(name, &number, &"1 or more"))
    }

    /// Takes a list of counts of 0 or more.
    pub(super) fn counts(&mut self, name: &'static str) -> Result<Option<Vec<usize>>, NodeError> {
        let Some(numbers) = self.ints(name)? else { return Ok(None) };
        let counts: Result<Vec<usize>, _> = numbers.iter().map(|&number| usize::try_from(number)).collect();
        counts.map(Some).map_err(|_| NodeError::value(name, &format!("{numbers:?}"), &"no negative numbers"))
    }

    /// Takes a finite number, `default` where it is absent.
    pub(super) fn number(&mut self, name: &'static str, default: f32) -> Result<f32, NodeError> {
        let number = self.float(name)?.unwrap_or(default);
        if number.is_finite() { Ok(number) } else { Err(NodeError::value(name, &number, &"a finite number")) }
    }

    /// Drops attributes that change nothing in evaluation.
    pub(super) fn ignore(&mut self, names: &[&str]) {
        self.left.retain(|name, _| !names.contains(name));
    }
}
