//! The server role (being written).
/// Settings of the server role.
#[derive(Clone, Debug, Default)]
pub struct ServerSettings {}
