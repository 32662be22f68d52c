//! Trust anchors from PEM text, and from a file that may change while we run.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, TrustAnchor};
use settings::Anchors;

use super::verify::Trust;
use super::{Error, broken, provider};

const MAX_FILE: u64 = 1024 * 1024;
const MAX_ANCHORS: usize = 64;
/// A line of the file that says which generation of the bundle it holds: `# generation: 7`.
const GENERATION: &str = "# generation:";

/// The anchors in force, and the text they came from.
#[derive(Debug)]
pub struct Bundle {
    source: Anchors,
    text: String,
    pub trust: Arc<Trust>,
}

impl Bundle {
    pub fn load(source: &Anchors) -> Result<Bundle, Error> {
        let text = read(source)?;
        let trust = Arc::new(parse(&text, 0)?);
        Ok(Bundle { source: source.clone(), text, trust })
    }

    /// Reads the file again. `true`: the anchors changed. A file that cannot be used leaves them as they were.
    pub fn refresh(&mut self) -> Result<bool, Error> {
        let text = match &self.source {
            Anchors::Pem(_) => return Ok(false),
            Anchors::File(_) => read(&self.source)?,
        };
        if text == self.text {
            return Ok(false);
        }
        self.trust = Arc::new(parse(&text, self.trust.generation)?);
        self.text = text;
        Ok(true)
    }
}

fn read(source: &Anchors) -> Result<String, Error> {
    match source {
        Anchors::Pem(text) => Ok(text.clone()),
        Anchors::File(path) => read_file(path).map_err(|error| broken(format!("{}: {error}", path.display()))),
    }
}

fn read_file(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(MAX_FILE).read_to_string(&mut text)?;
    Ok(text)
}

/// The generation is the file's own word, else one more than the last.
fn parse(text: &str, last_generation: u64) -> Result<Trust, Error> {
    let said =
        text.lines().find_map(|line| line.strip_prefix(GENERATION)).and_then(|number| number.trim().parse().ok());
    let anchors: Vec<TrustAnchor<'static>> = CertificateDer::pem_slice_iter(text.as_bytes())
        .map(|certificate| {
            let certificate = certificate.map_err(|error| broken(format!("trust anchors: {error}")))?;
            webpki::anchor_from_trusted_cert(&certificate)
                .map(|anchor| anchor.to_owned())
                .map_err(|error| broken(format!("trust anchors: {error}")))
        })
        .collect::<Result<_, _>>()?;
    match anchors.len() {
        0 => Err(broken("trust anchors: no certificate found")),
        1..=MAX_ANCHORS => Ok(Trust::new(said.unwrap_or(last_generation + 1), anchors, &provider())),
        _ => Err(broken(format!("trust anchors: more than {MAX_ANCHORS} certificates"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Authority;

    #[test]
    fn a_changed_file_is_a_new_generation_and_a_broken_one_changes_nothing() {
        let path = std::env::temp_dir().join(format!("gossamer-anchors-{}", std::process::id()));
        let (one, two) = (Authority::new("one").anchors_pem(), Authority::new("two").anchors_pem());
        std::fs::write(&path, &one).unwrap();
        let mut bundle = Bundle::load(&Anchors::File(path.clone())).unwrap();
        assert_eq!((bundle.trust.generation, bundle.trust.anchors.len()), (1, 1));
        assert_eq!(bundle.refresh(), Ok(false));
        std::fs::write(&path, format!("{one}{two}")).unwrap();
        assert_eq!(bundle.refresh(), Ok(true));
        assert_eq!((bundle.trust.generation, bundle.trust.anchors.len()), (2, 2));
        std::fs::write(&path, "nothing").unwrap();
        assert!(bundle.refresh().is_err());
        assert_eq!(bundle.trust.generation, 2);
        std::fs::write(&path, format!("# generation: 9\n{two}")).unwrap();
        assert_eq!(bundle.refresh(), Ok(true));
        assert_eq!((bundle.trust.generation, bundle.trust.anchors.len()), (9, 1));
        std::fs::remove_file(&path).unwrap();
        assert!(bundle.refresh().is_err());
    }

    #[test]
    fn text_without_a_certificate_is_no_bundle() {
        assert!(
            Bundle::load(&Anchors::Pem("-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----".into())).is_err()
        );
        assert!(Bundle::load(&Anchors::Pem(String::new())).is_err());
    }
}
