//! Where a component may connect to: Spin's `allowed_outbound_hosts`.
//!
//! An entry is `<scheme>://<host>[:<port>]`. The scheme is letters or `*`. The host is a domain, an IP address (IPv6 in
//! brackets), a network in CIDR notation, `*.<domain>`, `*`, or `self` for the application itself. The port is a number,
//! a range `from..to` without its end, or `*`; without one it is the scheme's own. The list is parsed once per
//! component; a check allocates at most the host's name.

use std::net::SocketAddr;
use std::ops::Range;

use ipnet::IpNet;
use url::Host;

use super::error::ConfigError;
use super::manifest::{Component, Manifest};
use super::variables::Variables;

/// The domain whose subdomains are the application's components.
pub const SERVICE_CHAINING_DOMAIN: &str = "spin.internal";
const SERVICE_CHAINING_SUFFIX: &str = ".spin.internal";

/// One entry of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedHost {
    /// The scheme; `None` allows any.
    pub scheme: Option<String>,
    /// The host.
    pub host: HostRule,
    /// The ports, without the end; `None` allows any.
    pub ports: Option<Range<u32>>,
}

/// Which hosts an entry allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostRule {
    /// All, and the application itself.
    Any,
    /// All below a domain; it is held with its leading dot.
    Subdomains(String),
    /// The application itself, by a request without a host or to `self`.
    Own,
    /// One domain or address.
    Exact(Host),
    /// All addresses of a network.
    Network(IpNet),
}

impl AllowedHost {
    /// Parses one entry without variables in it. The error says what is wrong, without a full stop.
    pub fn parse(entry: &str) -> Result<Self, String> {
        let text = entry.trim();
        let because = |reason: String| format!("the allowed outbound host \"{text}\" {reason}");
        let Some((scheme, rest)) = text.split_once("://") else {
            let reason = "has no scheme such as http:// (and everything would be \"*://*:*\")";
            return Err(because(reason.to_owned()));
        };
        let (host, port) = split_port(rest).map_err(because)?;
        Ok(Self {
            ports: parse_ports(port, scheme).map_err(because)?,
            scheme: parse_scheme(scheme).map_err(because)?,
            host: parse_host(host).map_err(because)?,
        })
    }

    /// Whether it allows requests to other components of the application by service chaining.
    pub fn is_for_service_chaining(&self) -> bool {
        match &self.host {
            HostRule::Exact(Host::Domain(domain)) => domain.ends_with(SERVICE_CHAINING_SUFFIX),
            HostRule::Subdomains(suffix) => suffix == SERVICE_CHAINING_SUFFIX,
            _ => false,
        }
    }

    fn allows_scheme(&self, scheme: &str) -> bool {
        self.scheme.as_ref().is_none_or(|allowed| allowed == scheme)
    }

    fn allows_host(&self, host: &Host) -> bool {
        match (&self.host, host) {
            (HostRule::Any, _) => true,
            (HostRule::Subdomains(suffix), Host::Domain(domain)) => domain.ends_with(suffix.as_str()),
            (HostRule::Exact(exact), host) => exact == host,
            (HostRule::Network(network), Host::Ipv4(address)) => network.contains(&std::net::IpAddr::V4(*address)),
            (HostRule::Network(network), Host::Ipv6(address)) => network.contains(&std::net::IpAddr::V6(*address)),
            (HostRule::Subdomains(_) | HostRule::Network(_) | HostRule::Own, _) => false,
        }
    }

    fn allows_port(&self, port: Option<u16>) -> bool {
        self.ports
            .as_ref()
            .is_none_or(|ports| port.is_some_and(|port| ports.contains(&u32::from(port))))
    }
}

/// All entries of one component.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowedHosts {
    entries: Vec<AllowedHost>,
    chains: bool,
}

impl AllowedHosts {
    /// Parses a list of entries without variables in them. `component_ids` are the application's: `*.spin.internal`
    /// stands for them and for no others.
    pub fn parse<'a>(
        entries: impl IntoIterator<Item = &'a str>,
        component_ids: impl Iterator<Item = &'a str> + Clone,
    ) -> Result<Self, String> {
        let mut hosts = Self::default();
        for entry in entries {
            hosts.add(AllowedHost::parse(entry)?, component_ids.clone());
        }
        Ok(hosts)
    }

    /// A component's list with the variables' values in it. An entry that is empty because its variables are, or is
    /// nothing but `http://` or `https://`, is left out.
    pub fn resolve(manifest: &Manifest, component: &Component, variables: &Variables) -> Result<Self, ConfigError> {
        let mut hosts = Self::default();
        for template in &component.allowed_outbound_hosts {
            let entry = variables.expand_at(template, manifest.at(component.line))?;
            if !template.is_literal() && matches!(entry.as_str(), "" | "http://" | "https://") {
                continue;
            }
            let Ok(host) = AllowedHost::parse(&entry) else {
                // The value isn't shown: it may hold a secret.
                let problem = format!(
                    "the allowed outbound host \"{template}\" of the component \"{}\" is no <scheme>://<host>[:<port>] \
                     with the values that its variables have",
                    component.id
                );
                let location = manifest.at(component.line);
                return Err(ConfigError::invalid(
                    location,
                    problem,
                    "correct the variables' values or the entry",
                ));
            };
            hosts.add(host, manifest.components.keys().map(String::as_str));
        }
        Ok(hosts)
    }

    fn add<'a>(&mut self, host: AllowedHost, component_ids: impl Iterator<Item = &'a str>) {
        self.chains |= host.is_for_service_chaining();
        match &host.host {
            HostRule::Subdomains(suffix) if suffix == SERVICE_CHAINING_SUFFIX => {
                let domain = |id| HostRule::Exact(Host::Domain(format!("{id}{SERVICE_CHAINING_SUFFIX}")));
                let of_component = |id| AllowedHost {
                    host: domain(id),
                    ..host.clone()
                };
                self.entries.extend(component_ids.map(of_component));
            }
            _ => self.entries.push(host),
        }
    }

    /// Whether a connection is allowed. `port` is `None` where the URL has none: then it is the scheme's own.
    pub fn allows(&self, scheme: &str, host: &str, port: Option<u16>) -> bool {
        let port = port.or_else(|| well_known_port(scheme));
        let mut candidates = self
            .entries
            .iter()
            .filter(|entry| entry.allows_scheme(scheme) && entry.allows_port(port));
        let Some(first) = candidates.next() else { return false };
        // A name that isn't one is allowed by nothing, not even by `*`.
        let Ok(host) = Host::parse(host) else { return false };
        first.allows_host(&host) || candidates.any(|entry| entry.allows_host(&host))
    }

    /// Whether a connection to an address is allowed, as a socket opens it; the scheme is `tcp` or `udp`.
    pub fn allows_address(&self, scheme: &str, address: SocketAddr) -> bool {
        let host = match address {
            SocketAddr::V4(address) => Host::Ipv4(*address.ip()),
            SocketAddr::V6(address) => Host::Ipv6(*address.ip()),
        };
        let mut entries = self.entries.iter();
        entries.any(|entry| {
            entry.allows_scheme(scheme) && entry.allows_port(Some(address.port())) && entry.allows_host(&host)
        })
    }

    /// Whether a connection to a URL is allowed; `scheme` is the one of a URL that has none. A URL that can't be parsed
    /// isn't allowed.
    pub fn allows_url(&self, url: &str, scheme: &str) -> bool {
        let url = without_user(url);
        let parsed = match url::Url::parse(&url) {
            Ok(parsed) if parsed.has_host() => Ok(parsed),
            _ => url::Url::parse(&format!("{scheme}://{url}")),
        };
        let Ok(parsed) = parsed else { return false };
        parsed
            .host_str()
            .is_some_and(|host| self.allows(parsed.scheme(), host, parsed.port()))
    }

    /// Whether a request to the application itself, without a host, is allowed by one of the schemes.
    pub fn allows_own_application(&self, schemes: &[&str]) -> bool {
        self.entries.iter().any(|entry| {
            matches!(entry.host, HostRule::Own | HostRule::Any)
                && schemes.iter().any(|scheme| entry.allows_scheme(scheme))
        })
    }

    /// Whether an entry is for service chaining. Only a component that nothing but HTTP triggers may have one.
    pub fn allows_service_chaining(&self) -> bool {
        self.chains
    }
}

/// The component that a host of service chaining names, with or without a port; `None` for every other host.
pub fn service_chaining_target(host: &str) -> Option<&str> {
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
    let (component, domain) = host.split_once('.')?;
    (domain == SERVICE_CHAINING_DOMAIN).then_some(component)
}

/// Splits off the port: what stands behind the last colon, unless the whole is a host, as an IPv6 network is.
fn split_port(rest: &str) -> Result<(&str, &str), String> {
    match rest.rsplit_once(':') {
        None => Ok((rest, "")),
        Some((host, "")) => Ok((host, "")),
        Some(_) if parse_host(rest).is_ok() => Ok((rest, "")),
        Some((host, tail)) => match tail.split_once('/') {
            None => Ok((host, tail)),
            Some((port, "")) => Ok((host, port)),
            Some(_) => Err("has a path".to_owned()),
        },
    }
}

fn parse_scheme(scheme: &str) -> Result<Option<String>, String> {
    match scheme {
        "*" => Ok(None),
        _ if scheme.chars().all(char::is_alphabetic) => Ok(Some(scheme.to_owned())),
        _ => Err(format!(
            "has the scheme \"{scheme}\", and only letters or * are allowed in it"
        )),
    }
}

fn parse_host(host: &str) -> Result<HostRule, String> {
    let host = host.trim();
    match host {
        "*" => return Ok(HostRule::Any),
        "self" | "self.alt" => return Ok(HostRule::Own),
        _ if host.starts_with('{') => return Err("has a list of hosts, and an entry is one".to_owned()),
        _ => {}
    }
    if let Ok(network) = host.parse::<IpNet>() {
        return Ok(HostRule::Network(network.trunc()));
    }
    let host = host.strip_suffix('/').unwrap_or(host);
    if host.contains('/') {
        return Err("has a path".to_owned());
    }
    let parse = |host| Host::parse(host).map_err(|error| format!("has a malformed host ({error})"));
    match host.strip_prefix("*.") {
        Some(domain) if domain.contains('*') => Err("has more than one * in its host".to_owned()),
        Some(domain) => match parse(domain)? {
            Host::Domain(domain) => Ok(HostRule::Subdomains(format!(".{domain}"))),
            _ => Err("has *. in front of an address".to_owned()),
        },
        None if host.contains('*') => Err("has a * that isn't the host's whole first part".to_owned()),
        None => parse(host).map(HostRule::Exact),
    }
}

fn parse_ports(port: &str, scheme: &str) -> Result<Option<Range<u32>>, String> {
    let number = |text: &str| {
        text.parse::<u16>()
            .map_err(|_| format!("has the port \"{port}\", which isn't a number"))
    };
    match port {
        "*" => Ok(None),
        "" => match well_known_port(scheme) {
            Some(port) => Ok(Some(u32::from(port)..u32::from(port) + 1)),
            None => Err(format!("has no port, and the scheme \"{scheme}\" has none of its own")),
        },
        _ => match port.split_once("..") {
            Some((from, to)) => Ok(Some(u32::from(number(from)?)..u32::from(number(to)?))),
            None => number(port).map(|port| Some(u32::from(port)..u32::from(port) + 1)),
        },
    }
}

fn well_known_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        "redis" => Some(6379),
        "mqtt" => Some(1883),
        "postgres" => Some(5432),
        "mysql" => Some(3306),
        _ => None,
    }
}

/// The URL without a user and password, which may hold characters that end a URL's host.
fn without_user(url: &str) -> std::borrow::Cow<'_, str> {
    let start = url.find("://").map_or(0, |end| end + 3);
    match url.find('@') {
        Some(at) if at >= start && !url[start..at].contains('/') => {
            format!("{}{}", &url[..start], &url[at + 1..]).into()
        }
        _ => url.into(),
    }
}

#[cfg(test)]
mod tests;
