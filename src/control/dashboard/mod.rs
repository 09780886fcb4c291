//! The dashboard: one page that shows the node as it is, and the events that it lives on.
//!
//! The page, its style and its script stand in files of their own beside this one, written by hand, and are part of the program. They hold
//! nothing of this node, so they are given to everybody without a token ([`PAGES`]); the script asks for the token and says it with
//! `GET /api/v1/events`.
//!
//! Names of streams are anybody's words. The script puts them into the page as text, and should it ever fail to, what they would bring
//! is shut out by [`POLICY`].

pub mod events;
mod page;
pub mod snapshot;

pub(super) use page::page;
pub use page::{PAGES, POLICY};
