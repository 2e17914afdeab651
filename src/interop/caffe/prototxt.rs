//! Protobuf's text format, as far as networks of Caffe are written in it: fields with numbers, words or strings, and
//! messages in braces. Fields that no message here has are skipped, as in the binary format.

use super::error::{CaffeError, TextError};
use super::proto::lrn_parameter::NormRegion;
use super::proto::pooling_parameter::{PoolMethod, RoundMode};
use super::proto::v1_layer_parameter::LayerType;
use super::proto::{
    BlobShape, ConvolutionParameter, InnerProductParameter, InputParameter, LayerParameter, LrnParameter, NetParameter,
    NetStateRule, Phase, PoolingParameter, ReLuParameter, TransformationParameter, V1LayerParameter,
};

/// Most messages within one another; Caffe has four.
const DEEPEST: usize = 16;

/// Number above those of all enumerations of the format.
const CHOICES: i32 = 64;

pub(super) fn parse(text: &str) -> Result<NetParameter, CaffeError> {
    let mut parser = Parser { rest: text, line: 1 };
    let fields = parser.fields(0).map_err(|reason| CaffeError::Text { line: parser.line, reason })?;
    if fields.is_empty() {
        return Err(CaffeError::NoLayers);
    }
    message(&fields)
}

struct Field {
    /// Line of its name, counted from 1.
    line: usize,
    name: String,
    value: Value,
}

enum Value {
    /// Number, word or string.
    Scalar(String),
    Message(Vec<Field>),
}

struct Parser<'t> {
    rest: &'t str,
    /// Line of `rest`, counted from 1.
    line: usize,
}

impl Parser<'_> {
    fn advance(&mut self, bytes: usize) {
        self.line += self.rest[..bytes].matches('\n').count();
        self.rest = &self.rest[bytes..];
    }

    /// Skips white space and comments.
    fn skip_space(&mut self) {
        loop {
            let spaces = self.rest.len() - self.rest.trim_start().len();
            self.advance(spaces);
            if !self.rest.starts_with('#') {
                return;
            }
            self.advance(self.rest.find('\n').unwrap_or(self.rest.len()));
        }
    }

    /// Skips `sign`, and whether it was there.
    fn eat(&mut self, sign: char) -> bool {
        self.skip_space();
        let found = self.rest.starts_with(sign);
        if found {
            self.advance(sign.len_utf8());
        }
        found
    }

    /// Letters, digits and the signs of numbers.
    fn word(&mut self) -> Result<String, TextError> {
        self.skip_space();
        let in_word = |c: char| c.is_ascii_alphanumeric() || "_.+-".contains(c);
        let end = self.rest.find(|c| !in_word(c)).unwrap_or(self.rest.len());
        let word = self.rest[..end].to_owned();
        self.advance(end);
        if word.is_empty() { Err(TextError::Word(self.rest.chars().take(1).collect())) } else { Ok(word) }
    }

    /// Word, or string in either kind of quotes, without escapes.
    fn scalar(&mut self) -> Result<String, TextError> {
        self.skip_space();
        let Some(quote) = self.rest.chars().next().filter(|&quote| quote == '"' || quote == '\'') else {
            return self.word();
        };
        let inside = &self.rest[1..];
        let end = inside.find([quote, '\n', '\\']).filter(|&end| inside[end..].starts_with(quote));
        let end = end.ok_or(TextError::String)?;
        let text = inside[..end].to_owned();
        self.advance(end + 2);
        Ok(text)
    }

    /// Fields up to the end of the text, or to the brace that closes the message.
    fn fields(&mut self, depth: usize) -> Result<Vec<Field>, TextError> {
        let mut fields = Vec::new();
        loop {
            let closed = self.eat('}');
            if closed || self.rest.is_empty() {
                return if closed == (depth > 0) { Ok(fields) } else { Err(TextError::Braces) };
            }
            let (line, name) = (self.line, self.word()?);
            let colon = self.eat(':');
            let value = if self.eat('{') {
                if depth == DEEPEST {
                    return Err(TextError::Depth(DEEPEST));
                }
                Value::Message(self.fields(depth + 1)?)
            } else if colon {
                Value::Scalar(self.scalar()?)
            } else {
                return Err(TextError::NoValue(name));
            };
            fields.push(Field { line, name, value });
            let _separator = self.eat(',') || self.eat(';');
        }
    }
}

impl Field {
    fn refuse(&self, reason: TextError) -> CaffeError {
        CaffeError::Text { line: self.line, reason }
    }

    fn unexpected(&self, expected: &'static str) -> CaffeError {
        let found = match &self.value {
            Value::Scalar(text) => text.clone(),
            Value::Message(_) => "a message".into(),
        };
        self.refuse(TextError::Value { name: self.name.clone(), found, expected })
    }

    /// Number of the enumerator of type `E` that the field names; `name_of` gives an enumerator's name.
    fn choice<E: TryFrom<i32>>(&self, name_of: fn(&E) -> &'static str) -> Result<Option<i32>, CaffeError> {
        let Value::Scalar(word) = &self.value else { return Err(self.unexpected("a word")) };
        let names = (0..CHOICES).filter_map(|number| Some((number, name_of(&E::try_from(number).ok()?))));
        if let Some((number, _)) = names.clone().find(|(_, name)| name == word) {
            return Ok(Some(number));
        }
        let known = names.map(|(_, name)| name).collect::<Vec<_>>().join(", ");
        Err(self.refuse(TextError::Choice { name: self.name.clone(), found: word.clone(), known }))
    }
}

/// Type of a field's value.
trait Parse: Sized {
    fn parse(field: &Field) -> Result<Self, CaffeError>;
}

/// Member of a message that a field of the same name is stored in.
trait Store {
    fn store(&mut self, field: &Field) -> Result<(), CaffeError>;
}

/// Optional member: the last field counts.
impl<T: Parse> Store for Option<T> {
    fn store(&mut self, field: &Field) -> Result<(), CaffeError> {
        *self = Some(T::parse(field)?);
        Ok(())
    }
}

/// Repeated member: every field counts.
impl<T: Parse> Store for Vec<T> {
    fn store(&mut self, field: &Field) -> Result<(), CaffeError> {
        self.push(T::parse(field)?);
        Ok(())
    }
}

macro_rules! scalars {
    ($($type:ident: $expected:literal),*) => { $(
        impl Parse for $type {
            fn parse(field: &Field) -> Result<Self, CaffeError> {
                match &field.value {
                    Value::Scalar(text) => text.parse().map_err(|_| field.unexpected($expected)),
                    Value::Message(_) => Err(field.unexpected($expected)),
                }
            }
        }
    )* };
}

scalars!(u32: "a count", i32: "an integer", i64: "an integer", f32: "a number", bool: "true or false", String: "text");

/// Message whose members are stored one by one.
trait FromFields: Default {
    fn store(&mut self, field: &Field) -> Result<(), CaffeError>;
}

fn message<M: FromFields>(fields: &[Field]) -> Result<M, CaffeError> {
    let mut message = M::default();
    fields.iter().try_for_each(|field| message.store(field))?;
    Ok(message)
}

/// Lists the members of messages that are read: those of type `Store`, then enumerations with their types.
macro_rules! messages {
    ($($message:ident { $($member:ident),* $(; $($choice:ident: $enum:ident),*)? })*) => { $(
        impl FromFields for $message {
            fn store(&mut self, field: &Field) -> Result<(), CaffeError> {
                $(if field.name == stringify!($member).trim_start_matches("r#") {
                    return self.$member.store(field);
                })*
                $($(if field.name == stringify!($choice).trim_start_matches("r#") {
                    self.$choice = field.choice($enum::as_str_name)?;
                })*)?
                Ok(())
            }
        }

        impl Parse for $message {
            fn parse(field: &Field) -> Result<Self, CaffeError> {
                match &field.value {
                    Value::Message(fields) => message(fields),
                    Value::Scalar(_) => Err(field.unexpected("a message in braces")),
                }
            }
        }
    )* };
}

messages! {
    NetParameter { layers, input_dim, input_shape, layer }
    LayerParameter {
        name, r#type, bottom, top, include, convolution_param, inner_product_param, lrn_param, pooling_param, relu_param,
        input_param, transform_param
    }
    V1LayerParameter {
        name, bottom, top, include, convolution_param, inner_product_param, lrn_param, pooling_param, relu_param,
        transform_param;
        r#type: LayerType
    }
    NetStateRule { ; phase: Phase }
    BlobShape { dim }
    InputParameter { shape }
    ReLuParameter { negative_slope }
    TransformationParameter { scale, crop_size, mean_file, mean_value, force_gray }
    ConvolutionParameter {
        num_output, pad, kernel_size, group, stride, pad_h, pad_w, kernel_h, kernel_w, stride_h, stride_w, axis,
        dilation
    }
    InnerProductParameter { num_output, axis, transpose }
    LrnParameter { local_size, alpha, beta, k; norm_region: NormRegion }
    PoolingParameter {
        kernel_size, stride, pad, kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w, global_pooling;
        pool: PoolMethod, round_mode: RoundMode
    }
}
