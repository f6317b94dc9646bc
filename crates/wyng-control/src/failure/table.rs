// SPDX-License-Identifier: GPL-3.0-or-later
//! The macro that turns the rows of the groups into the one enum and its functions.

/// Declares [`Failure`](crate::Failure) from its rows. A row is a variant with its code, its exit
/// status, `Display` for what happened, what is safe, and what to do next:
///
/// ```text
/// /// Says when it happens.
/// Name { field: Type } = {
///     code: "name", exit: Failed,
///     what: ("a format string over {field}, and its arguments"),
///     safe: NOTHING_CHANGED,
///     next: "One sentence or two.",
/// }
/// ```
///
/// The rows stay in files by subject. As a macro cannot expand another one inside its arguments,
/// each group's macro takes the names of the macros that follow, the last of them this one, and
/// hands the rows before its own, and its own, to the next.
macro_rules! catalogue {
    ([] $(
        $(#[$doc:meta])*
        $name:ident $({ $($field:ident: $kind:ty),* $(,)? })? = {
            code: $code:literal, exit: $exit:ident,
            what: ($($what:tt)+),
            safe: $safe:expr,
            next: $next:literal,
        }
    )*) => {
        /// Every failure that a person can see. `Display` says what happened.
        #[expect(missing_docs, reason = "the names of fields say all; a variant's line says when")]
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Failure {
            $( $(#[$doc])* $name $({ $($field: $kind),* })?, )*
        }

        impl Failure {
            /// What is the same for every value of a variant.
            const fn row(&self) -> Row {
                match self {
                    $( Self::$name { .. } => Row {
                        code: $code,
                        exit: ExitStatus::$exit,
                        safe: $safe,
                        next: $next,
                    }, )*
                }
            }

            /// The volume that it is about: the field `volume`, in variants that have it.
            #[expect(unused_variables, reason = "only the field `volume` is used")]
            pub fn volume(&self) -> Option<&str> {
                match self {
                    $( Self::$name $({ $($field),* })? => {
                        None::<&str> $($( .or(if_volume!($field $field)) )*)?
                    } )*
                }
            }
        }

        /// The variants alone, for their numbers in a message.
        enum Number {
            $( $name, )*
        }

        // As bincode's derives would write it: the variant's number, then its fields in order. The
        // derives themselves do not find the fields of an enum that a macro made.
        impl Encode for Failure {
            fn encode<E: Encoder>(&self, to: &mut E) -> Result<(), EncodeError> {
                match self {
                    $( Self::$name $({ $($field),* })? => {
                        (Number::$name as u32).encode(to)?;
                        $($( $field.encode(to)?; )*)?
                    } )*
                }
                Ok(())
            }
        }

        impl<Context> Decode<Context> for Failure {
            fn decode<D: Decoder<Context = Context>>(from: &mut D) -> Result<Self, DecodeError> {
                match u32::decode(from)? {
                    $( number if number == Number::$name as u32 => {
                        Ok(Self::$name $({ $($field: Decode::decode(from)?),* })?)
                    } )*
                    _ => Err(DecodeError::Other("no failure has this number")),
                }
            }
        }

        impl_borrow_decode!(Failure);

        impl fmt::Display for Failure {
            #[expect(unused_variables, reason = "not every sentence uses all fields")]
            fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $( Self::$name $({ $($field),* })? => write!(to, $($what)+), )*
                }
            }
        }
    };
}

/// A field's value if its name is `volume`, otherwise `None`.
macro_rules! if_volume {
    (volume $value:ident) => {
        $value.as_volume()
    };
    ($other:ident $value:ident) => {
        None
    };
}
