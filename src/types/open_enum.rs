/// Defines a string enum of the API that stays open: a value this version does not know is kept
/// verbatim in `Unknown` and goes back over the wire unchanged.
///
/// `build.rs` emits one call for every string enum of `openapi.yaml`.
macro_rules! open_enum {
    ($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $value:literal,)+ }) => {
        $(#[$meta])*
        ///
        /// The API may add values at any time: a `match` needs a wildcard arm, and
        /// [`as_str`](Self::as_str) is the text on the wire for known and unknown values alike.
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$variant_meta])* $variant,)+
            /// A value that this version of the crate does not know, as the service wrote it.
            Unknown(String),
        }

        impl $name {
            /// Every value that this version of the crate knows, in the order of the API's document.
            pub const KNOWN: &'static [Self] = &[$(Self::$variant),+];

            /// The value as it is on the wire.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $value,)+
                    Self::Unknown(value) => value,
                }
            }

            fn known(value: &str) -> Option<Self> {
                match value {
                    $($value => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }

        impl From<&str> for $name {
            fn from(value: &str) -> Self {
                Self::known(value).unwrap_or_else(|| Self::Unknown(value.to_owned()))
            }
        }

        impl From<String> for $name {
            fn from(value: String) -> Self {
                Self::known(&value).unwrap_or(Self::Unknown(value))
            }
        }

        impl From<&str> for crate::types::Optional<$name> {
            fn from(value: &str) -> Self {
                $name::from(value).into()
            }
        }

        impl From<String> for crate::types::Optional<$name> {
            fn from(value: String) -> Self {
                $name::from(value).into()
            }
        }

        impl std::str::FromStr for $name {
            type Err = std::convert::Infallible;

            fn from_str(value: &str) -> Result<Self, std::convert::Infallible> {
                Ok(Self::from(value))
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                // A visitor, since any string type of its own would copy the value first.
                struct OpenEnumVisitor;

                impl serde::de::Visitor<'_> for OpenEnumVisitor {
                    type Value = $name;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("a string")
                    }

                    fn visit_str<E>(self, value: &str) -> Result<$name, E> {
                        Ok($name::known(value).unwrap_or_else(|| {
                            crate::types::drift::unknown_value(stringify!($name), value);
                            $name::Unknown(value.to_owned())
                        }))
                    }
                }

                deserializer.deserialize_str(OpenEnumVisitor)
            }
        }

        #[cfg(feature = "schemars")]
        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                crate::types::schema::open_enum(stringify!($name), Self::KNOWN.iter().map(Self::as_str))
            }
        }
    };
}
