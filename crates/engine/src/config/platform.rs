//! Whether a built component runs on Spin 4.1: every interface that it imports is offered, and it exports what its
//! triggers call.
//!
//! What is offered is written down here as facts, from the worlds that Spin's `wit/` folder and the `spin-sdk` crate
//! carry. A version counts as Spin's linker counts it: 0.2.3 satisfies 0.2.0, 3.1.0 satisfies 3.0.0, and a pre-release
//! satisfies only itself.

mod interfaces;

use semver::Version;
use wasmparser::{ComponentExternalKind, ComponentTypeRef, Encoding, Parser, Payload, TypeBounds};

use super::manifest::TriggerType;

/// Why a component doesn't run on Spin 4.1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlatformProblem {
    /// The file isn't WebAssembly.
    #[error("the file is not WebAssembly ({reason}); build it with `cargo xtask build` or `spin build`")]
    Unreadable {
        /// What the parser says.
        reason: String,
    },
    /// The file is a core module.
    #[error("the file is a core module and no component; build it for wasm32-wasip2")]
    CoreModule,
    /// An import that Spin has in no version.
    #[error("it imports {import}, which Spin 4.1 doesn't offer; remove the use of it")]
    UnknownImport {
        /// The import.
        import: String,
    },
    /// An import that is offered in other versions only.
    #[error("it imports {import}, which is offered as {offered} only; build it with the library's version for that")]
    UnknownVersion {
        /// The import.
        import: String,
        /// The versions that there are.
        offered: String,
    },
    /// What a trigger calls isn't there.
    #[error(
        "it has the trigger {trigger} and doesn't export {expected}; export it, or give the trigger another component"
    )]
    MissingExport {
        /// The trigger.
        trigger: TriggerType,
        /// What may be exported.
        expected: &'static str,
    },
}

impl PlatformProblem {
    /// Whether the same check may succeed later without another build: never.
    pub fn is_retryable(&self) -> bool {
        false
    }
}

/// Checks a component against Spin 4.1 and against the triggers that call it. All problems are returned.
pub fn check_component(bytes: &[u8], triggers: &[TriggerType]) -> Result<(), Vec<PlatformProblem>> {
    let surface = Surface::read(bytes).map_err(|problem| vec![problem])?;
    let imports = surface.imports.iter().filter_map(|import| check_import(import));
    let exports = triggers
        .iter()
        .filter_map(|trigger| check_export(*trigger, &surface.exports));
    let problems: Vec<PlatformProblem> = imports.chain(exports).collect();
    match problems.is_empty() {
        true => Ok(()),
        false => Err(problems),
    }
}

/// What a component has on its outside.
#[derive(Default)]
struct Surface {
    imports: Vec<String>,
    exports: Vec<(String, ComponentExternalKind)>,
}

impl Surface {
    fn read(bytes: &[u8]) -> Result<Self, PlatformProblem> {
        let unreadable = |error: wasmparser::BinaryReaderError| PlatformProblem::Unreadable {
            reason: error.to_string(),
        };
        let mut surface = Self::default();
        // Components and modules inside the component have imports and exports of their own.
        let mut depth = 0_usize;
        for payload in Parser::new(0).parse_all(bytes) {
            match payload.map_err(unreadable)? {
                Payload::Version {
                    encoding: Encoding::Module,
                    ..
                } if depth == 0 => {
                    return Err(PlatformProblem::CoreModule);
                }
                Payload::Version { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::ComponentImportSection(section) if depth == 1 => {
                    for import in section {
                        let import = import.map_err(unreadable)?;
                        // A name for a type that is known already asks for nothing.
                        if !matches!(import.ty, ComponentTypeRef::Type(TypeBounds::Eq(_))) {
                            surface.imports.push(import.name.name.to_owned());
                        }
                    }
                }
                Payload::ComponentExportSection(section) if depth == 1 => {
                    for export in section {
                        let export = export.map_err(unreadable)?;
                        surface.exports.push((export.name.name.to_owned(), export.kind));
                    }
                }
                _ => {}
            }
        }
        Ok(surface)
    }
}

fn check_import(import: &str) -> Option<PlatformProblem> {
    let (interface, version) = split_version(import);
    let offered: Vec<&str> = interfaces::offered(interface).collect();
    if offered.is_empty() {
        return Some(PlatformProblem::UnknownImport {
            import: import.to_owned(),
        });
    }
    if offered.iter().any(|offered| satisfies(offered, version)) {
        return None;
    }
    let offered = offered.join(" and ");
    Some(PlatformProblem::UnknownVersion {
        import: import.to_owned(),
        offered,
    })
}

fn check_export(trigger: TriggerType, exports: &[(String, ComponentExternalKind)]) -> Option<PlatformProblem> {
    let expected = interfaces::exports_of(trigger);
    let serves = |(name, kind): &(String, ComponentExternalKind)| {
        let (name, version) = split_version(name);
        expected.alternatives.iter().any(|alternative| {
            let (interface, offered) = split_version(alternative);
            name == interface
                && match offered {
                    Some(offered) => *kind == ComponentExternalKind::Instance && satisfies(offered, version),
                    None => *kind == ComponentExternalKind::Func,
                }
        })
    };
    match exports.iter().any(serves) {
        true => None,
        false => Some(PlatformProblem::MissingExport {
            trigger,
            expected: expected.text,
        }),
    }
}

fn split_version(name: &str) -> (&str, Option<&str>) {
    name.split_once('@')
        .map_or((name, None), |(name, version)| (name, Some(version)))
}

/// Whether an offered version stands for the one that is asked for, as wasmtime's linker decides it. What the asked-for
/// one added after the offered one can't be seen here; so a newer minor version isn't taken. Patches of WASI 0.2 are:
/// they share their interfaces.
fn satisfies(offered: &str, asked: Option<&str>) -> bool {
    let Some(asked) = asked else { return offered.is_empty() };
    let (Ok(offered), Ok(asked)) = (Version::parse(offered), Version::parse(asked)) else {
        return false;
    };
    if !offered.pre.is_empty() || !asked.pre.is_empty() {
        return offered == asked;
    }
    match (offered.major, offered.minor) {
        (0, 2) => asked.major == 0 && asked.minor == 2,
        (0, minor) => asked.major == 0 && asked.minor == minor && asked <= offered,
        (major, _) => asked.major == major && asked <= offered,
    }
}

#[cfg(test)]
mod tests;
