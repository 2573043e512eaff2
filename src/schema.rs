//! JSON schemas of settings that the project parses itself.

/// Defines the JSON schema of a type, and its name in error messages: `schema!(Duration, "Duration", {"type": "string"})`.
macro_rules! schema {
    ($type:ty, $name:literal, $($schema:tt)+) => {
        #[cfg(not(target_arch = "wasm32"))]
        impl schemars::JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!($($schema)+)
            }
        }
    };
}

pub(crate) use schema;
