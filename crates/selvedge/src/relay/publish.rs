//! Publishes parcels to message brokers.

use super::parcel::Parcel;
use crate::delivery::Outcome;
use crate::subscription::Broker;
use crate::{Error, Host};

/// Publishes the events of a parcel, each a structured CloudEvent, and says of each whether it is settled.
pub(super) async fn all(
    _host: &Host,
    _parcel: &Parcel,
    broker: &Broker,
    _bodies: Vec<Vec<u8>>,
) -> Result<Vec<Outcome>, Error> {
    Err(Error::Broker {
        address: broker.address.to_string(),
        reason: "not available yet".to_owned(),
    })
}
