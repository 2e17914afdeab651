//! Comparisons and choices: of whole numbers on the host, of floats number by number, with 1 and 0 as truth values.

use super::host::Integers;
use super::lower::{GraphLowering, Value};
use super::reduced::number;
use super::refusal::Refusal;
use super::storage::Tensor;
use super::{Comparison, Node};
use crate::ops::binary::Operation;

impl GraphLowering<'_> {
    /// Compares input 0 with input 1, element by element: 1 where it holds, else 0.
    pub(super) fn compare(&mut self, node: &Node, comparison: Comparison) -> Result<Value, Refusal> {
        if let (Value::Integers(a), Value::Integers(b)) = (self.value(node, 0)?, self.value(node, 1)?) {
            return Ok(Value::Integers(a.compared(comparison, &b)?));
        }
        let (a, b) = (self.numbers(node, 0)?, self.numbers(node, 1)?);
        let y = match comparison {
            Comparison::Less => self.pair(node, Operation::Less, &a, &b),
            Comparison::LessOrEqual => self.pair(node, Operation::AtMost, &a, &b),
            Comparison::Greater => self.pair(node, Operation::Less, &b, &a),
            Comparison::GreaterOrEqual => self.pair(node, Operation::AtMost, &b, &a),
            Comparison::Equal => self.pair(node, Operation::Equal, &a, &b),
            // Of truth values, which are 1 and 0.
            Comparison::And => self.pair(node, Operation::Minimum, &a, &b),
            Comparison::Or => self.pair(node, Operation::Maximum, &a, &b),
            Comparison::Differ => {
                let same = self.pair(node, Operation::Equal, &a, &b)?;
                self.negated(node, &same)
            }
        };
        y.map(Value::Floats)
    }

    /// 1 where the input is 0, else 0.
    pub(super) fn not(&mut self, node: &Node) -> Result<Value, Refusal> {
        if let Value::Integers(x) = self.value(node, 0)? {
            return Ok(Value::Integers(x.compared(Comparison::Equal, &Integers::new(Vec::new(), vec![0]))?));
        }
        let x = self.floats(node, 0)?;
        self.negated(node, &x).map(Value::Floats)
    }

    /// 1 where the number is not 0, else 0.
    pub(super) fn truth(&mut self, node: &Node, x: &Tensor) -> Result<Tensor, Refusal> {
        let zero = self.negated(node, x)?;
        self.negated(node, &zero)
    }

    fn negated(&mut self, node: &Node, x: &Tensor) -> Result<Tensor, Refusal> {
        self.pair(node, Operation::Equal, x, &number(0.0))
    }

    /// Input 1 where input 0 is not 0, else input 2.
    pub(super) fn choose_each(&mut self, node: &Node) -> Result<Value, Refusal> {
        let [on, a, b] = [self.value(node, 0)?, self.value(node, 1)?, self.value(node, 2)?];
        if let (Value::Integers(on), Value::Integers(a), Value::Integers(b)) = (on, a, b) {
            return Ok(Value::Integers(on.chosen(&a, &b)?));
        }
        let [on, a, b] = [self.numbers(node, 0)?, self.numbers(node, 1)?, self.numbers(node, 2)?];
        let off = self.negated(node, &on)?;
        let (a, b) = (self.pair(node, Operation::Keep, &a, &on)?, self.pair(node, Operation::Keep, &b, &off)?);
        self.pair(node, Operation::Add, &a, &b).map(Value::Floats)
    }
}
