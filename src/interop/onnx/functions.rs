//! Functions of a file: operators made of others. Their nodes take the place of every node that calls one.

use std::collections::{HashMap, HashSet};

use prost::Message as _;

use super::error::{NodeError, OnnxError};
use super::parse::{Parser, version};
use super::proto::{AttributeProto, FunctionProto, NodeProto};
use crate::graph::{Op, ValueId};
use crate::interop::wire::{MESSAGE, allowance};

/// The most functions within one another.
const DEEPEST: usize = 32;

/// Functions of a file, and what may still be inlined of them.
#[derive(Default)]
pub(super) struct Functions<'m> {
    /// Functions by domain, name and overload.
    known: HashMap<[&'m str; 3], &'m FunctionProto>,
    /// Functions around the node that is parsed.
    depth: usize,
    /// Bytes of memory that inlined nodes may take, and may still take.
    bytes: [u64; 2],
}

impl<'m> Functions<'m> {
    /// Functions of a file of `length` bytes.
    pub(super) fn new(functions: &'m [FunctionProto], length: u64) -> Self {
        let key = |function: &'m FunctionProto| [function.domain(), function.name(), function.overload()];
        let known = functions.iter().map(|function| (key(function), function)).collect();
        Self { known, depth: 0, bytes: [allowance(length); 2] }
    }

    /// The function that a node calls.
    pub(super) fn called_by(&self, node: &NodeProto) -> Option<&'m FunctionProto> {
        self.known.get(&[node.domain(), node.op_type(), node.overload()]).copied()
    }

    /// Counts a message of `length` bytes in the file that is inlined.
    fn count(&mut self, length: usize) -> Result<(), NodeError> {
        let [allowed, left] = &mut self.bytes;
        *left = left.checked_sub(MESSAGE + length as u64).ok_or(NodeError::Inlined(*allowed >> 20))?;
        Ok(())
    }

    /// The nodes of a function as `node` calls it: with the attributes that it gives, and without the inputs that it
    /// leaves out.
    fn body(
        &mut self,
        node: &NodeProto,
        name: &str,
        function: &FunctionProto,
        operands: &[Option<ValueId>],
    ) -> Result<Vec<NodeProto>, NodeError> {
        let mut attributes: HashMap<&str, &AttributeProto> =
            function.attribute_proto.iter().map(|default| (default.name(), default)).collect();
        for given in &node.attribute {
            if !function.attribute.iter().any(|name| name == given.name()) && !attributes.contains_key(given.name()) {
                return Err(NodeError::Attribute(given.name().into()));
            }
            if !given.ref_attr_name().is_empty() {
                return Err(NodeError::Reference(given.name().into()));
            }
            attributes.insert(given.name(), given);
        }
        let given = |index: usize| operands.get(index).copied().flatten().is_some();
        let absent = function.input.iter().enumerate().filter(|(index, _)| !given(*index));
        let absent: HashSet<&str> = absent.map(|(_, name)| name.as_str()).collect();
        let mut nodes = Vec::new();
        for inner in &function.node {
            self.count(inner.encoded_len())?;
            let mut inner = inner.clone();
            self.fill_in(&mut inner, &attributes, &absent)?;
            let own = Some(inner.name()).filter(|name| !name.is_empty()).or(inner.output.first().map(String::as_str));
            inner.name = Some(format!("{name}/{}", own.unwrap_or_default()));
            nodes.push(inner);
        }
        Ok(nodes)
    }

    /// Fills in the attributes of a function, and leaves out inputs that are not given, in a node and its branches.
    fn fill_in(
        &mut self,
        node: &mut NodeProto,
        attributes: &HashMap<&str, &AttributeProto>,
        absent: &HashSet<&str>,
    ) -> Result<(), NodeError> {
        node.input.iter_mut().filter(|input| absent.contains(input.as_str())).for_each(String::clear);
        for mut attribute in std::mem::take(&mut node.attribute) {
            for node in attribute.g.iter_mut().flat_map(|graph| &mut graph.node) {
                self.fill_in(node, attributes, absent)?;
            }
            if !attribute.ref_attr_name().is_empty() {
                // Without a value, the operator's own default holds.
                let Some(&given) = attributes.get(attribute.ref_attr_name()) else { continue };
                self.count(given.encoded_len())?;
                attribute = AttributeProto { name: attribute.name, ..given.clone() };
            }
            node.attribute.push(attribute);
        }
        Ok(())
    }
}

impl Parser<'_> {
    /// Adds the nodes of a function that `node` calls. Names inside are apart from those outside.
    pub(super) fn call(
        &mut self,
        node: &NodeProto,
        name: &str,
        function: &FunctionProto,
        computed: &HashSet<&str>,
    ) -> Result<(), OnnxError> {
        let refuse = |reason| OnnxError::Node { node: name.into(), operator: node.op_type().into(), reason };
        let [inputs, outputs] = [function.input.len(), function.output.len()];
        let found = [node.input.len(), node.output.len()];
        if found[0] > inputs || found[1] > outputs {
            let (inputs, outputs) = (format!("up to {inputs} inputs"), format!("up to {outputs} outputs"));
            return Err(refuse(NodeError::Arity { inputs, outputs, found }));
        }
        if self.functions.depth == DEEPEST {
            return Err(refuse(NodeError::Deep(DEEPEST)));
        }
        self.functions.depth += 1;
        let operands = self.operands(node, computed).map_err(refuse)?;
        let body = self.functions.body(node, name, function, &operands).map_err(refuse)?;
        let given = function.input.iter().zip(operands).filter_map(|(name, value)| Some((name.clone(), value?)));
        let outer = std::mem::replace(&mut self.values, given.collect());
        let inner = version(&function.opset_import)?.unwrap_or(self.version);
        let outer_version = std::mem::replace(&mut self.version, inner);
        let wanted = || function.output.iter().zip(&node.output).filter(|(_, output)| !output.is_empty());
        let computed = body.iter().flat_map(|node| &node.output).map(String::as_str).collect();
        self.nodes(&body, wanted().map(|(name, _)| name.as_str()), &computed)?;
        let result = |(name, _): (&String, _)| {
            let found = self.values.get(name).copied();
            found.ok_or_else(|| refuse(NodeError::Undefined(name.clone())))
        };
        let results: Vec<ValueId> = wanted().map(result).collect::<Result<_, _>>()?;
        (self.values, self.version) = (outer, outer_version);
        self.functions.depth -= 1;
        for (output, result) in self.results(node)?.into_iter().flatten().zip(results) {
            self.push(node, name, Op::Identity, vec![Some(result)], vec![Some(output)]);
        }
        Ok(())
    }
}
