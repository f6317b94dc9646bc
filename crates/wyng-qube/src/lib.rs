// SPDX-License-Identifier: GPL-3.0-or-later
//! Whole qubes, as pure functions: what qubesd's answers say, the settings record of a qube, which
//! qubes a backup takes, where the bytes of a volume lie, and the plan of a restore.
//!
//! It deliberately asks nobody, opens no path and reads no clock: the role `volumes` sends the
//! requests, passes the answers in, and does what a plan says. Every answer and every record is
//! foreign: it is bounded, checked for its form, and refused whole where it does not fit.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

pub mod answer;
mod class;
mod driver;
mod form;
mod place;
pub mod plan;
pub mod record;
mod rules;
mod selection;
mod shown;
mod uuid;

pub use class::Class;
pub use driver::Driver;
pub use form::{
    is_color, is_device_class, is_feature_name, is_kernel_name, is_label_name, is_menu_item,
    is_pool_name, is_property_name, is_qube_name, is_tag, is_volume_name,
};
pub use place::{NoPlace, Place, PlaceQuery, Which, ZvolAt, import_place, place};
pub use rules::{AllowedRule, PolicyCheck, check_policy};
pub use selection::{
    Candidate, Chosen, Kept, LeftOut, Selection, SelectionError, Selector, Spared, WhyLeft, Wish,
    select,
};
pub use shown::Shown;
pub use uuid::QubeUuid;
