//! Where brokers are.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::error::Error;
use crate::limits;

/// Reads a list of brokers, `10.0.0.5:9092,[2001:db8::1]:9092`. `localhost` stands for 127.0.0.1; any other name can't be
/// looked up from a component.
///
/// ```
/// let brokers = selvedge_kafka::address::parse("127.0.0.1:9092, localhost:9093")?;
/// assert_eq!(brokers[1].to_string(), "127.0.0.1:9093");
/// assert!(selvedge_kafka::address::parse("kafka:9092").is_err());
/// # Ok::<(), selvedge_kafka::Error>(())
/// ```
///
/// # Errors
/// [`Error::Addresses`] where the list is empty or longer than [`limits::BROKERS_MAX`], or a part of it is no address.
pub fn parse(text: &str) -> Result<Vec<SocketAddr>, Error> {
    let wrong = |text: &str| Error::Addresses { text: text.to_owned() };
    let brokers: Vec<_> = text
        .split(',')
        .map(str::trim)
        .map(|part| match part.strip_prefix("localhost:") {
            Some(port) => port
                .parse()
                .map(|port| (Ipv4Addr::LOCALHOST, port).into())
                .map_err(|_| wrong(part)),
            None => part.parse().map_err(|_| wrong(part)),
        })
        .collect::<Result<_, _>>()?;
    if brokers.len() > limits::BROKERS_MAX {
        return Err(wrong(text));
    }
    Ok(brokers)
}

/// The address that a broker has by its own account.
pub(crate) fn advertised(host: &str, port: i32) -> Result<SocketAddr, Error> {
    let unknown = || Error::NameOnly {
        host: host.to_owned(),
        port,
    };
    let ip = match host {
        "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        host => host.parse().map_err(|_| unknown())?,
    };
    Ok((ip, u16::try_from(port).map_err(|_| unknown())?).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_and_anything_else_is_refused_with_the_part_that_is_wrong() {
        let brokers = parse(" 10.0.0.5:9092 ,[::1]:9093").expect("addresses");
        assert_eq!(
            brokers,
            [
                "10.0.0.5:9092".parse().expect("one"),
                "[::1]:9093".parse().expect("one")
            ]
        );
        for (text, part) in [
            ("", ""),
            ("127.0.0.1", "127.0.0.1"),
            ("127.0.0.1:9092,", ""),
            ("127.0.0.1:9092,kafka:9092", "kafka:9092"),
            ("localhost:x", "localhost:x"),
            ("127.0.0.1:99999", "127.0.0.1:99999"),
        ] {
            assert_eq!(parse(text), Err(Error::Addresses { text: part.to_owned() }));
        }
        assert!(parse(&["127.0.0.1:1"; 33].join(",")).is_err());
    }

    #[test]
    fn a_broker_that_is_known_by_a_name_is_an_error_that_says_what_to_set() {
        assert_eq!(
            advertised("localhost", 9092),
            Ok("127.0.0.1:9092".parse().expect("one"))
        );
        let error = advertised("kafka-1", 9092).expect_err("a name");
        assert!(error.to_string().contains("advertised.listeners"), "{error}");
        assert!(advertised("127.0.0.1", 70_000).is_err() && advertised("127.0.0.1", -1).is_err());
    }
}
