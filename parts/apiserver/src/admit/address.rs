//! IP addresses and ranges of them, read as leniently as upstream reads them and judged as strictly
//! (`StrictIPCIDRValidation`, on since 1.36).

use super::faults::Faults;
use api::{FieldError, Path};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address; numbers of a v4 address may have leading zeros, which upstream once took.
pub(crate) fn read(text: &str) -> Option<IpAddr> {
    let plain: Vec<&str> =
        text.split('.').map(|part| part.trim_start_matches('0')).collect::<Vec<_>>();
    if !text.contains(':') && plain.len() == 4 {
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !text.split('.').all(digits) {
            return None;
        }
        let mut bytes = [0_u8; 4];
        for (byte, part) in bytes.iter_mut().zip(plain) {
            *byte = if part.is_empty() { 0 } else { part.parse().ok()? };
        }
        return Some(Ipv4Addr::from(bytes).into());
    }
    text.parse::<Ipv6Addr>().ok().map(IpAddr::from)
}

/// Whether the address is of the sixth version.
pub(crate) fn is_v6(text: &str) -> bool {
    matches!(read(text), Some(IpAddr::V6(v6)) if v6.to_ipv4_mapped().is_none())
}

/// Faults of an address. Answers whether there was none.
pub(crate) fn validate(found: &mut Faults, path: &Path, text: &str) -> bool {
    let why = match read(text) {
        None => "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
        Some(IpAddr::V4(v4)) if v4.to_string() != text => "must not have leading 0s",
        Some(IpAddr::V6(v6)) if v6.to_ipv4_mapped().is_some() => {
            "must not be an IPv4-mapped IPv6 address"
        }
        Some(_) => return true,
    };
    found.push(FieldError::invalid(path.clone(), text, why));
    false
}

/// Faults of an address that traffic is sent to: none that only means something on one host or link.
pub(crate) fn validate_target(found: &mut Faults, path: &Path, text: &str) {
    let Some(address) = read(text) else {
        return found.push(FieldError::invalid(path.clone(), text, "must be a valid IP address"));
    };
    let address = address.to_canonical();
    let mut wrong = |why: &str| found.push(FieldError::invalid(path.clone(), text, why));
    if address.is_unspecified() {
        wrong(&format!("may not be unspecified ({text})"));
    }
    if address.is_loopback() {
        wrong("may not be in the loopback range (127.0.0.0/8, ::1/128)");
    }
    let (link_local, link_local_multicast) = match address {
        IpAddr::V4(v4) => (v4.is_link_local(), v4.octets().starts_with(&[224, 0, 0])),
        IpAddr::V6(v6) => {
            let head = v6.segments()[0];
            (head & 0xffc0 == 0xfe80, head & 0xff0f == 0xff02)
        }
    };
    if link_local {
        wrong("may not be in the link-local range (169.254.0.0/16, fe80::/10)");
    }
    if link_local_multicast {
        wrong("may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)");
    }
}

/// The warning about an address that is right but not written the usual way.
pub(crate) fn warning(text: &str, path: &Path) -> Option<String> {
    match read(text)? {
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_none() && v6.to_string() != text => Some(format!(
            "{path}: IPv6 address {text:?} should be in RFC 5952 canonical format ({:?})",
            v6.to_string()
        )),
        _ => None,
    }
}

/// A range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    address: IpAddr,
    length: u8,
}

impl std::fmt::Display for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

impl Range {
    /// The range that begins at an address.
    pub(crate) fn new(address: IpAddr, length: u8) -> Self {
        Self { address, length }
    }

    /// Whether it has addresses of the sixth version.
    pub(crate) fn is_v6(&self) -> bool {
        self.address.is_ipv6()
    }

    /// How many addresses there are.
    pub(crate) fn size(&self) -> u128 {
        let width = if self.is_v6() { 128 } else { 32 };
        1_u128.checked_shl(width - u32::from(self.length).min(width)).unwrap_or(u128::MAX)
    }

    /// The address at a place.
    pub(crate) fn at(&self, place: u128) -> Option<IpAddr> {
        let first = Self::network(self.address, self.length);
        let found = first.checked_add(place).filter(|_| place < self.size())?;
        match self.address {
            IpAddr::V4(_) => Some(Ipv4Addr::from(u32::try_from(found).ok()?).into()),
            IpAddr::V6(_) => Some(Ipv6Addr::from(found).into()),
        }
    }

    /// Whether an address may be given out: the first never, nor the last one of the fourth version.
    pub(crate) fn is_usable(&self, address: IpAddr) -> bool {
        let last = if self.is_v6() { None } else { self.at(self.size() - 1) };
        self.at(0) != Some(address) && last != Some(address)
    }

    /// Reads `address/length`.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let (address, length) = text.split_once('/')?;
        let address = read(address)?;
        let digits = !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit());
        let length: u8 = digits.then(|| length.parse().ok()).flatten()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        (length <= most).then_some(Self { address, length })
    }

    /// The bits of an address below the length set to 0, as a number.
    fn network(address: IpAddr, length: u8) -> u128 {
        let (bits, width) = match address {
            IpAddr::V4(v4) => (u128::from(u32::from(v4)), 32_u32),
            IpAddr::V6(v6) => (u128::from(v6), 128),
        };
        let low = width - u32::from(length).min(width);
        bits.checked_shr(low).and_then(|high| high.checked_shl(low)).unwrap_or(0)
    }

    /// Whether an address is in the range.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.address.is_ipv4()
            && Self::network(address, self.length) == Self::network(self.address, self.length)
    }

    /// Whether it is a true part of another.
    pub(crate) fn is_strictly_inside(&self, other: &Self) -> bool {
        let first = Self::network(self.address, self.length);
        let first = match self.address {
            IpAddr::V4(_) => IpAddr::V4(u32::try_from(first).unwrap_or(u32::MAX).into()),
            IpAddr::V6(_) => IpAddr::V6(first.into()),
        };
        other.contains(first) && other.length < self.length
    }

    fn is_masked(&self) -> bool {
        Self::network(self.address, self.length) == Self::network(self.address, u8::MAX)
    }
}

/// Faults of a range.
pub(crate) fn range(found: &mut Faults, path: &Path, text: &str) {
    let mut wrong = |why: &str| found.push(FieldError::invalid(path.clone(), text, why));
    let Some(range) = Range::read(text) else {
        return wrong("must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)");
    };
    let (address, length) = text.split_once('/').unwrap_or_default();
    let padded = range.address.is_ipv4() && range.address.to_string() != address;
    if padded || range.length.to_string() != length {
        return wrong("must not have leading 0s in IP or prefix length");
    }
    if matches!(range.address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some()) {
        wrong("must not have an IPv4-mapped IPv6 address");
    }
    if !range.is_masked() {
        wrong("must not have bits set beyond the prefix length");
    }
}

/// The warning about a range that is right but not written the usual way.
pub(crate) fn range_warning(text: &str, path: &Path) -> Option<String> {
    let range = Range::read(text)?;
    let usual = format!("{}/{}", range.address, range.length);
    let unusual = range.address.is_ipv6() && range.is_masked() && usual != text;
    unusual.then(|| {
        format!(
            "{path}: IPv6 CIDR value {text:?} should be in RFC 5952 canonical format ({usual:?})"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn faults(act: impl Fn(&mut Faults, &Path)) -> Vec<String> {
        let mut found = Faults::new();
        act(&mut found, &Path::new("x"));
        found.iter().map(|fault| fault.body.clone()).collect()
    }

    #[test]
    fn addresses_are_read_mildly_and_judged_strictly() {
        for (text, expected) in [
            ("10.9.8.7", ""),
            ("2001:db8::1", ""),
            ("010.9.8.7", "must not have leading 0s"),
            ("::ffff:1.2.3.4", "must not be an IPv4-mapped IPv6 address"),
            ("1.2.3", "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"),
            ("1.2.3.256", "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"),
            ("", "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"),
        ] {
            let found = faults(|found, path| {
                validate(found, path, text);
            });
            let expected: Vec<String> = (!expected.is_empty())
                .then(|| format!("Invalid value: {text:?}: {expected}"))
                .into_iter()
                .collect();
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn ranges_have_no_bits_below_their_length() {
        for (text, expected) in [
            ("10.0.0.0/8", ""),
            ("2001:db8::/64", ""),
            ("0.0.0.0/0", ""),
            ("::/0", ""),
            ("10.0.0.1/8", "must not have bits set beyond the prefix length"),
            ("10.0.0.0/08", "must not have leading 0s in IP or prefix length"),
            ("10.0.0.0", "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"),
            ("10.0.0.0/33", "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"),
        ] {
            let found = faults(|found, path| range(found, path, text));
            let expected: Vec<String> = (!expected.is_empty())
                .then(|| format!("Invalid value: {text:?}: {expected}"))
                .into_iter()
                .collect();
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn a_part_is_smaller_and_inside() {
        let range = |text| Range::read(text).expect("a range");
        let all = range("10.0.0.0/8");
        assert!(range("10.1.0.0/16").is_strictly_inside(&all));
        assert!(!range("10.0.0.0/8").is_strictly_inside(&all));
        assert!(!range("11.0.0.0/16").is_strictly_inside(&all));
        assert!(!range("2001:db8::/64").is_strictly_inside(&range("0.0.0.0/0")));
        assert!(range("::/0").contains("2001:db8::1".parse().expect("an address")));
    }

    #[test]
    fn unusual_spellings_are_warned_of() {
        let path = Path::new("x");
        assert_eq!(warning("10.0.0.1", &path), None);
        let said = warning("2001:DB8::1", &path).expect("a warning");
        assert!(
            said.ends_with("should be in RFC 5952 canonical format (\"2001:db8::1\")"),
            "{said}"
        );
        assert!(range_warning("2001:db8:0::/64", &path).is_some());
        assert_eq!(range_warning("2001:db8::/64", &path), None);
    }
}
