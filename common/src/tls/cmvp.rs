//! What is known of the validation of OpenSSL's FIPS modules (NIST's Cryptographic Module Validation
//! Program).
//!
//! It is knowledge of a day, kept for people who read a report; nothing is decided by it. Only the versions
//! that the OpenSSL project itself has submitted are listed: vendors' modules have their own certificates,
//! for their own builds and platforms.

use serde::Serialize;

/// The day on which this was known.
pub const AS_OF: &str = "2026-11-25";

/// Where it can be looked up now.
pub const REGISTER: &str = "https://csrc.nist.gov/projects/cryptographic-module-validation-program/validated-modules/search";

/// The validation of one version, in the build that the OpenSSL project has submitted and on the platforms that
/// the certificate names. Whether a file is that build, its version does not tell: distributions build the
/// same sources under the same name.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct Cmvp {
    /// The state on [`AS_OF`].
    pub state: State,
    /// The standard that it was or is to be validated against.
    pub standard: &'static str,
    /// The number of the certificate, if there is one.
    pub certificate: Option<u32>,
    /// What else there is to know: when the state ends or began.
    pub remark: &'static str,
}

/// The state of a validation.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// On the list of active certificates.
    Validated,
    /// No longer active; for existing systems at their owner's risk.
    Historical,
    /// Submitted, and not validated yet.
    InProcess,
}

impl State {
    /// The word in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Validated => "validated",
            Self::Historical => "historical",
            Self::InProcess => "in process",
        }
    }
}

/// The name of OpenSSL's module, and of builds that have not given it another.
const OPENSSL: &str = "OpenSSL FIPS Provider";

const HISTORICAL: Cmvp = Cmvp {
    state: State::Historical,
    standard: "FIPS 140-2",
    certificate: Some(4282),
    remark: "historical since 2026-09-22, as every certificate of FIPS 140-2",
};

static VERSIONS: [(&str, Cmvp); 5] = [
    ("3.0.0", HISTORICAL),
    ("3.0.8", HISTORICAL),
    ("3.0.9", HISTORICAL),
    (
        "3.1.2",
        Cmvp {
            state: State::Validated,
            standard: "FIPS 140-3",
            certificate: Some(4985),
            remark: "until 2030-03-10",
        },
    ),
    (
        "3.5.4",
        Cmvp {
            state: State::InProcess,
            standard: "FIPS 140-3",
            certificate: None,
            remark: "submitted on 2025-10-09",
        },
    ),
];

/// What is known of a module with this name and version. `None` is "not on the list": a version that was
/// never submitted, or a vendor's.
pub(super) fn find(name: &str, version: &str) -> Option<&'static Cmvp> {
    (name == OPENSSL).then_some(())?;
    VERSIONS.iter().find(|(known, _)| *known == version).map(|(_, cmvp)| cmvp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_projects_own_versions_are_known() {
        let found = find(OPENSSL, "3.1.2").unwrap();
        assert_eq!((found.state, found.certificate), (State::Validated, Some(4985)));
        assert_eq!(find(OPENSSL, "3.0.9").unwrap().state, State::Historical);
        assert_eq!(find(OPENSSL, "3.5.9"), None, "a patch release is another module");
        assert_eq!(find("Red Hat Enterprise Linux 9 - OpenSSL FIPS Provider", "3.1.2"), None);
    }
}
