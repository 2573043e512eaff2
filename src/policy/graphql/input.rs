//! Input values: variables and arguments, coerced to their types before anything is called (GraphQL specification,
//! September 2025, sections 3 "Input Coercion", 6.1.2 and 6.4.1).

use apollo_compiler::ast::{FieldDefinition, Type, Value};
use apollo_compiler::executable::{Field, Operation};
use apollo_compiler::schema::{ExtendedType, InputObjectType};
use apollo_compiler::{Name, Node as Shared, Schema};

use crate::json::Node;

/// Variables of a request as JSON, coerced. One that is absent has no value.
#[derive(Debug, Default, Clone)]
pub(super) struct Variables(Vec<(Name, String)>);

/// Why a value cannot be used.
pub(super) type Reason = String;

impl Variables {
    /// Coerces the variables that a request has sent: the text of an object, or nothing.
    pub(super) fn read(schema: &Schema, operation: &Operation, sent: Option<&str>) -> Result<Self, Reason> {
        let mut sent = Node::Text(sent.unwrap_or("{}"));
        let mut read = Self::default();
        for variable in &operation.variables {
            let name = &variable.name;
            let value = match (sent.member(name.as_str()), &variable.default_value) {
                (Some(value), _) => Some(json(schema, &variable.ty, value)),
                (None, Some(default)) => literal(schema, &variable.ty, default, &Self::default()),
                (None, None) if variable.ty.is_non_null() => Some(Err("it is required and has no value".into())),
                (None, None) => None,
            };
            if let Some(value) = value {
                let value = value.map_err(|reason| format!("Variable \"${name}\" cannot be used: {reason}."))?;
                read.0.push((name.clone(), value));
            }
        }
        Ok(read)
    }

    /// The value of a variable, as JSON.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(own, _)| own == name);
        found.map(|(_, value)| value.as_str())
    }

    /// All variables.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// The arguments of a field, as JSON by name. One that is absent has no value.
pub(super) fn arguments(
    schema: &Schema,
    definition: &FieldDefinition,
    field: &Field,
    variables: &Variables,
) -> Result<Vec<(String, String)>, Reason> {
    let mut arguments = Vec::with_capacity(definition.arguments.len());
    for argument in &definition.arguments {
        let given = field.arguments.iter().find(|given| given.name == argument.name);
        let given = given.and_then(|given| literal(schema, &argument.ty, &given.value, variables));
        let default = || literal(schema, &argument.ty, argument.default_value.as_ref()?, variables);
        match given.or_else(default) {
            Some(Ok(value)) => arguments.push((argument.name.to_string(), value)),
            Some(Err(reason)) => return Err(format!("Argument \"{}\" cannot be used: {reason}.", argument.name)),
            None if argument.ty.is_non_null() => {
                return Err(format!("Argument \"{}\" is required and has no value.", argument.name));
            }
            None => {}
        }
    }
    Ok(arguments)
}

/// A JSON value, coerced to a type.
fn json(schema: &Schema, ty: &Type, node: &mut Node<'_>) -> Result<String, Reason> {
    let text = node.to_string();
    if text == NULL {
        return match ty.is_non_null() {
            true => Err(format!("null is no {ty}")),
            false => Ok(text),
        };
    }
    let name = match ty {
        Type::List(inner) | Type::NonNullList(inner) => {
            let Some(items) = node.items() else {
                return json(schema, inner, node).map(|item| format!("[{item}]"));
            };
            let items: Result<Vec<_>, _> = items.iter_mut().map(|item| json(schema, inner, item)).collect();
            return Ok(format!("[{}]", items?.join(",")));
        }
        Type::Named(name) | Type::NonNullNamed(name) => name,
    };
    match schema.types.get(name) {
        Some(ExtendedType::Scalar(_)) => {
            scalar(name.as_str(), &text).ok_or_else(|| format!("{} is no {name}", shown(&text)))
        }
        Some(ExtendedType::Enum(own)) => {
            let value: Option<String> = serde_json::from_str(&text).ok();
            match value.is_some_and(|value| own.values.keys().any(|known| *known == value.as_str())) {
                true => Ok(text),
                false => Err(format!("{} is no {name}", shown(&text))),
            }
        }
        Some(ExtendedType::InputObject(own)) => {
            let Some(members) = node.members() else {
                return Err(format!("{} is no {name}", shown(&text)));
            };
            let unknown = members
                .iter()
                .find(|member| !own.fields.keys().any(|known| member.is_named(known.as_str())));
            if unknown.is_some() {
                return Err(format!("it has a member that {name} has not"));
            }
            object(schema, own, |field| {
                let value = node.member(field)?;
                let definition = own.fields.get(field)?;
                Some(json(schema, &definition.ty, value))
            })
        }
        _ => Err(format!("{name} is no type of input")),
    }
}

/// A value of a document, coerced to a type; `None` if it is a variable without a value.
fn literal(schema: &Schema, ty: &Type, value: &Shared<Value>, variables: &Variables) -> Option<Result<String, Reason>> {
    if let Value::Variable(name) = value.as_ref() {
        // It has been coerced to its own type, which validation has found to fit, but for null.
        let value = variables.get(name.as_str())?;
        return Some(match value == NULL && ty.is_non_null() {
            true => Err(format!("null is no {ty}")),
            false => Ok(wrapped(ty, value)),
        });
    }
    if value.is_null() {
        return Some(match ty.is_non_null() {
            true => Err(format!("null is no {ty}")),
            false => Ok(NULL.into()),
        });
    }
    let name = match ty {
        Type::List(inner) | Type::NonNullList(inner) => {
            let own = std::slice::from_ref(value);
            let items = value.as_list().unwrap_or(own).iter();
            let items = items.map(|item| match literal(schema, inner, item, variables) {
                Some(item) => item,
                None if inner.is_non_null() => Err(format!("null is no {inner}")),
                None => Ok(NULL.into()),
            });
            let items: Result<Vec<_>, _> = items.collect();
            return Some(items.map(|items| format!("[{}]", items.join(","))));
        }
        Type::Named(name) | Type::NonNullNamed(name) => name,
    };
    Some(match schema.types.get(name) {
        Some(ExtendedType::InputObject(own)) => {
            let Value::Object(members) = value.as_ref() else {
                return Some(Err(format!("it is no {name}")));
            };
            object(schema, own, |field| {
                let (_, value) = members.iter().find(|(name, _)| *name == field)?;
                literal(schema, &own.fields.get(field)?.ty, value, variables)
            })
        }
        Some(ExtendedType::Scalar(_)) => {
            let text = plain(value, variables);
            scalar(name.as_str(), &text).ok_or_else(|| format!("it is no {name}"))
        }
        _ => Ok(plain(value, variables)),
    })
}

/// An input object, from its fields' values.
fn object(
    schema: &Schema,
    own: &InputObjectType,
    mut find: impl FnMut(&str) -> Option<Result<String, Reason>>,
) -> Result<String, Reason> {
    let is_one_of = own.directives.has("oneOf");
    let mut members: Vec<(&Name, String)> = Vec::new();
    for (name, field) in &own.fields {
        let default = || literal(schema, &field.ty, field.default_value.as_ref()?, &Variables::default());
        match find(name.as_str()).or_else(default) {
            Some(value) => members.push((name, value?)),
            None if field.ty.is_non_null() => return Err(format!("\"{name}\" is required and has no value")),
            None => {}
        }
    }
    let is_one = matches!(members.as_slice(), [(_, value)] if value != NULL);
    if is_one_of && !is_one {
        return Err(format!("{} wants exactly one member, which is not null", own.name));
    }
    let members: Vec<_> = members
        .iter()
        .map(|(name, value)| format!("\"{name}\":{value}"))
        .collect();
    Ok(format!("{{{}}}", members.join(",")))
}

/// A value that is used where a list is wanted is a list of one.
fn wrapped(ty: &Type, value: &str) -> String {
    match ty.is_list() && value != NULL && !value.starts_with('[') {
        true => format!("[{}]", wrapped(ty.item_type(), value)),
        false => value.to_owned(),
    }
}

/// The JSON of a value of a document, without regard to its type.
fn plain(value: &Value, variables: &Variables) -> String {
    match value {
        Value::Null => NULL.into(),
        Value::Enum(name) => format!("\"{name}\""),
        Value::Variable(name) => variables.get(name.as_str()).unwrap_or(NULL).to_owned(),
        Value::String(text) => serde_json::Value::from(text.as_str()).to_string(),
        Value::Float(number) => number.as_str().to_owned(),
        Value::Int(number) => number.as_str().to_owned(),
        Value::Boolean(value) => value.to_string(),
        Value::List(items) => {
            let items: Vec<_> = items.iter().map(|item| plain(item, variables)).collect();
            format!("[{}]", items.join(","))
        }
        Value::Object(members) => {
            let members = members
                .iter()
                .map(|(name, value)| format!("\"{name}\":{}", plain(value, variables)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        }
    }
}

/// A JSON value as a scalar of this type; `None` if it is of another one. A scalar that the schema defines takes any value.
pub(super) fn scalar(name: &str, text: &str) -> Option<String> {
    let first = text.bytes().next()?;
    let is_number = first == b'-' || first.is_ascii_digit();
    match name {
        "Int" => whole(text)
            .filter(|number| is_number && i32::try_from(*number).is_ok())
            .map(|number| number.to_string()),
        "Float" => {
            let number: f64 = text.parse().ok()?;
            (is_number && number.is_finite()).then(|| text.to_owned())
        }
        "ID" if is_number => whole_text(text).map(|number| format!("\"{number}\"")),
        "String" | "ID" => (first == b'"').then(|| text.to_owned()),
        "Boolean" => ["true", "false"].contains(&text).then(|| text.to_owned()),
        _ => Some(text.to_owned()),
    }
}

/// A number without a fraction; `None` for others.
fn whole(text: &str) -> Option<i64> {
    if let Ok(number) = text.parse() {
        return Some(number);
    }
    let number: f64 = text.parse().ok()?;
    let is_whole = number.is_finite() && number.fract() == 0.0 && number.abs() < LARGEST_EXACT;
    // It has no fraction and is within 53 bits.
    #[expect(clippy::cast_possible_truncation, clippy::as_conversions)]
    is_whole.then_some(number as i64)
}

/// The digits of a number without a fraction, of any length.
fn whole_text(text: &str) -> Option<String> {
    match text.contains(['.', 'e', 'E']) {
        true => whole(text).map(|number| number.to_string()),
        false if text == "-0" => Some("0".into()),
        false => Some(text.to_owned()),
    }
}

/// The beginning of a value, for a message.
fn shown(text: &str) -> String {
    let short: String = text.chars().take(LONGEST_SHOWN).collect();
    match short.len() == text.len() {
        true => short,
        false => format!("{short}..."),
    }
}

pub(super) const NULL: &str = "null";

/// 2 to the power of 53: integers below are exact in a double.
const LARGEST_EXACT: f64 = 9_007_199_254_740_992.0;

const LONGEST_SHOWN: usize = 40;
