//! Protobuf's text format, as far as networks of Caffe are written in it: fields with numbers, words or texts, and
//! messages in braces. What is not read here is skipped, as in the binary format.

use std::str::FromStr;

use super::proto::lrn_parameter::NormRegion;
use super::proto::pooling_parameter::{PoolMethod, RoundMode};
use super::proto::v1_layer_parameter::LayerType;
use super::proto::{
    BlobShape, ConvolutionParameter, InnerProductParameter, InputParameter, LayerParameter, LrnParameter, NetParameter,
    NetStateRule, Phase, PoolingParameter, ReLuParameter, V1LayerParameter,
};

/// Messages inside each other; Caffe has four.
const DEEPEST: usize = 16;

/// The network in `text`.
///
/// # Errors
/// The line, and what is wrong there.
pub(super) fn parse(text: &str) -> Result<NetParameter, String> {
    let mut parser = Parser { rest: text, line: 1 };
    let message = parser.message(0)?;
    if message.0.is_empty() {
        return Err("holds no network".into());
    }
    net(&message)
}

/// The fields of a message with their lines, in their order.
struct Message(Vec<(usize, String, Value)>);

enum Value {
    Scalar(String),
    Message(Message),
}

struct Parser<'t> {
    rest: &'t str,
    line: usize,
}

impl Parser<'_> {
    fn error(&self, what: &str) -> String {
        format!("line {}: {what}", self.line)
    }

    fn advance(&mut self, bytes: usize) {
        self.line += self.rest[..bytes].matches('\n').count();
        self.rest = &self.rest[bytes..];
    }

    /// Passes white space and comments.
    fn space(&mut self) {
        loop {
            let spaces = self.rest.len() - self.rest.trim_start().len();
            self.advance(spaces);
            if !self.rest.starts_with('#') {
                return;
            }
            self.advance(self.rest.find('\n').unwrap_or(self.rest.len()));
        }
    }

    fn eat(&mut self, sign: char) -> bool {
        self.space();
        let there = self.rest.starts_with(sign);
        if there {
            self.advance(sign.len_utf8());
        }
        there
    }

    /// Letters, digits and what numbers are written with.
    fn word(&mut self) -> Result<String, String> {
        self.space();
        let end =
            self.rest.find(|c: char| !c.is_ascii_alphanumeric() && !"_.+-".contains(c)).unwrap_or(self.rest.len());
        let word = self.rest[..end].to_owned();
        self.advance(end);
        if word.is_empty() { Err(self.error("a name or a value is missing")) } else { Ok(word) }
    }

    /// A text in either kind of quotes, in which nothing is special.
    fn scalar(&mut self) -> Result<String, String> {
        self.space();
        let Some(quote) = self.rest.chars().next().filter(|&quote| quote == '"' || quote == '\'') else {
            return self.word();
        };
        let inside = &self.rest[1..];
        let end = inside.find([quote, '\n', '\\']).filter(|&end| inside[end..].starts_with(quote));
        let end = end.ok_or_else(|| self.error("a text does not end in its line, or has a backslash in it"))?;
        let text = inside[..end].to_owned();
        self.advance(end + 2);
        Ok(text)
    }

    /// Fields up to the end, or to the brace that closes.
    fn message(&mut self, depth: usize) -> Result<Message, String> {
        let mut fields = Vec::new();
        loop {
            let closed = self.eat('}');
            if closed || self.rest.is_empty() {
                let balanced = closed == (depth > 0);
                return balanced.then_some(Message(fields)).ok_or_else(|| self.error("braces do not match"));
            }
            let (line, name) = (self.line, self.word()?);
            let colon = self.eat(':');
            let value = if self.eat('{') {
                if depth == DEEPEST {
                    return Err(self.error("messages lie too deep inside each other"));
                }
                Value::Message(self.message(depth + 1)?)
            } else if colon {
                Value::Scalar(self.scalar()?)
            } else {
                return Err(self.error(&format!("{name} has no value")));
            };
            fields.push((line, name, value));
            let _separator = self.eat(',') || self.eat(';');
        }
    }
}

impl Message {
    fn scalars<'m>(&'m self, wanted: &'m str) -> impl Iterator<Item = (usize, &'m str)> {
        self.0.iter().filter_map(move |(line, name, value)| match value {
            Value::Scalar(text) if name == wanted => Some((*line, text.as_str())),
            _ => None,
        })
    }

    fn messages<'m>(&'m self, wanted: &'m str) -> impl Iterator<Item = &'m Self> {
        self.0.iter().filter_map(move |(_, name, value)| match value {
            Value::Message(message) if name == wanted => Some(message),
            _ => None,
        })
    }

    /// All values of a field.
    fn all<T: FromStr>(&self, name: &str) -> Result<Vec<T>, String> {
        let parsed =
            |(line, text): (usize, &str)| text.parse().map_err(|_| format!("line {line}: {name} cannot be {text}"));
        self.scalars(name).map(parsed).collect()
    }

    /// The last value of a field, which counts.
    fn one<T: FromStr>(&self, name: &str) -> Result<Option<T>, String> {
        Ok(self.all(name)?.pop())
    }

    /// The last word of a field, of those that `known` knows.
    fn choice<T: Into<i32>>(&self, name: &str, known: fn(&str) -> Option<T>) -> Result<Option<i32>, String> {
        let chosen =
            |(line, text)| known(text).map(Into::into).ok_or_else(|| format!("line {line}: {name} {text} is not read"));
        self.scalars(name).last().map(chosen).transpose()
    }

    /// The last message of a field as what `read` makes of it.
    fn inner<T>(&self, name: &str, read: fn(&Self) -> Result<T, String>) -> Result<Option<T>, String> {
        self.messages(name).last().map(read).transpose()
    }

    fn each<T>(&self, name: &str, read: fn(&Self) -> Result<T, String>) -> Result<Vec<T>, String> {
        self.messages(name).map(read).collect()
    }
}

fn net(m: &Message) -> Result<NetParameter, String> {
    Ok(NetParameter {
        name: m.one("name")?,
        layers: m.each("layers", v1_layer)?,
        input: m.all("input")?,
        input_dim: m.all("input_dim")?,
        input_shape: m.each("input_shape", shape)?,
        layer: m.each("layer", layer)?,
    })
}

fn layer(m: &Message) -> Result<LayerParameter, String> {
    Ok(LayerParameter {
        name: m.one("name")?,
        r#type: m.one("type")?,
        bottom: m.all("bottom")?,
        top: m.all("top")?,
        blobs: Vec::new(),
        include: m.each("include", rule)?,
        convolution_param: m.inner("convolution_param", conv)?,
        inner_product_param: m.inner("inner_product_param", full)?,
        lrn_param: m.inner("lrn_param", lrn)?,
        pooling_param: m.inner("pooling_param", pool)?,
        relu_param: m.inner("relu_param", relu)?,
        input_param: m.inner("input_param", |m| Ok(InputParameter { shape: m.each("shape", shape)? }))?,
    })
}

fn v1_layer(m: &Message) -> Result<V1LayerParameter, String> {
    Ok(V1LayerParameter {
        name: m.one("name")?,
        r#type: m.choice("type", LayerType::from_str_name)?,
        bottom: m.all("bottom")?,
        top: m.all("top")?,
        blobs: Vec::new(),
        include: m.each("include", rule)?,
        convolution_param: m.inner("convolution_param", conv)?,
        inner_product_param: m.inner("inner_product_param", full)?,
        lrn_param: m.inner("lrn_param", lrn)?,
        pooling_param: m.inner("pooling_param", pool)?,
        relu_param: m.inner("relu_param", relu)?,
    })
}

fn shape(m: &Message) -> Result<BlobShape, String> {
    Ok(BlobShape { dim: m.all("dim")? })
}

fn rule(m: &Message) -> Result<NetStateRule, String> {
    Ok(NetStateRule { phase: m.choice("phase", Phase::from_str_name)? })
}

fn relu(m: &Message) -> Result<ReLuParameter, String> {
    Ok(ReLuParameter { negative_slope: m.one("negative_slope")? })
}

fn conv(m: &Message) -> Result<ConvolutionParameter, String> {
    Ok(ConvolutionParameter {
        num_output: m.one("num_output")?,
        bias_term: m.one("bias_term")?,
        pad: m.all("pad")?,
        kernel_size: m.all("kernel_size")?,
        group: m.one("group")?,
        stride: m.all("stride")?,
        pad_h: m.one("pad_h")?,
        pad_w: m.one("pad_w")?,
        kernel_h: m.one("kernel_h")?,
        kernel_w: m.one("kernel_w")?,
        stride_h: m.one("stride_h")?,
        stride_w: m.one("stride_w")?,
        dilation: m.all("dilation")?,
    })
}

fn full(m: &Message) -> Result<InnerProductParameter, String> {
    Ok(InnerProductParameter {
        num_output: m.one("num_output")?,
        bias_term: m.one("bias_term")?,
        transpose: m.one("transpose")?,
    })
}

fn lrn(m: &Message) -> Result<LrnParameter, String> {
    Ok(LrnParameter {
        local_size: m.one("local_size")?,
        alpha: m.one("alpha")?,
        beta: m.one("beta")?,
        norm_region: m.choice("norm_region", NormRegion::from_str_name)?,
        k: m.one("k")?,
    })
}

fn pool(m: &Message) -> Result<PoolingParameter, String> {
    Ok(PoolingParameter {
        pool: m.choice("pool", PoolMethod::from_str_name)?,
        kernel_size: m.one("kernel_size")?,
        stride: m.one("stride")?,
        pad: m.one("pad")?,
        kernel_h: m.one("kernel_h")?,
        kernel_w: m.one("kernel_w")?,
        stride_h: m.one("stride_h")?,
        stride_w: m.one("stride_w")?,
        pad_h: m.one("pad_h")?,
        pad_w: m.one("pad_w")?,
        global_pooling: m.one("global_pooling")?,
        round_mode: m.choice("round_mode", RoundMode::from_str_name)?,
    })
}
