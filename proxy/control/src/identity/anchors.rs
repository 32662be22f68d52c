//! Trust anchors from PEM text, from a file that may change while we run, and from the control plane's stream of bundles:
//! the larger generation is in force.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use settings::Anchors;
use wire::trust::{MAX_ANCHORS, TrustBundle};

use super::trust::Trust;
use super::{Error, broken};

const MAX_FILE: u64 = 1024 * 1024;
/// A line of the file that says which generation of the bundle it holds: `# generation: 7`.
const GENERATION: &str = "# generation:";

/// The bundle in force, and where it came from.
#[derive(Debug)]
pub struct Bundle {
    source: Anchors,
    text: String,
    bundle: TrustBundle,
    /// It is the stream's word: it knows more than a file does.
    streamed: bool,
    /// Anchors beside the bundle's (SPIRE's).
    more: Vec<CertificateDer<'static>>,
    pub trust: Arc<Trust>,
}

impl Bundle {
    pub fn load(source: &Anchors) -> Result<Bundle, Error> {
        let text = read(source)?;
        let bundle = if *source == Anchors::None { TrustBundle::default() } else { parse(&text, 0)? };
        let trust = if *source == Anchors::None { Trust::nobody() } else { Trust::of(&bundle, &[])? };
        let trust = Arc::new(trust);
        Ok(Bundle { source: source.clone(), text, bundle, streamed: false, more: vec![], trust })
    }

    /// Reads the file again. `true`: the bundle changed. A file that cannot be used leaves everything as it was, and so
    /// does one that is older than what the stream said.
    pub fn refresh(&mut self) -> Result<bool, Error> {
        let text = match &self.source {
            Anchors::Pem(_) | Anchors::None => return Ok(false),
            Anchors::File(_) => read(&self.source)?,
        };
        if text == self.text {
            return Ok(false);
        }
        let mut bundle = parse(&text, self.bundle.generation)?;
        let old = self.streamed && bundle.generation <= self.bundle.generation;
        if !old {
            // A file knows of no revocations: those that are known stay.
            bundle.revoked.clone_from(&self.bundle.revoked);
            self.put(bundle)?;
            self.streamed = false;
        }
        self.text = text;
        Ok(!old)
    }

    /// What the control plane says. `true`: the bundle changed.
    pub fn offer(&mut self, bundle: &TrustBundle) -> Result<bool, Error> {
        let newer = match bundle.generation.cmp(&self.bundle.generation) {
            std::cmp::Ordering::Greater => true,
            std::cmp::Ordering::Equal => *bundle != self.bundle,
            std::cmp::Ordering::Less => false,
        };
        if newer {
            self.put(bundle.clone())?;
        }
        self.streamed |= bundle.generation >= self.bundle.generation;
        Ok(newer)
    }

    /// Anchors from elsewhere. `true`: they changed.
    pub fn beside(&mut self, more: Vec<CertificateDer<'static>>) -> Result<bool, Error> {
        if more == self.more {
            return Ok(false);
        }
        let trust = Trust::of(&self.bundle, &more)?;
        (self.trust, self.more) = (Arc::new(trust), more);
        Ok(true)
    }

    fn put(&mut self, bundle: TrustBundle) -> Result<(), Error> {
        let trust = Trust::of(&bundle, &self.more)?;
        (self.trust, self.bundle) = (Arc::new(trust), bundle);
        Ok(())
    }
}

fn read(source: &Anchors) -> Result<String, Error> {
    match source {
        Anchors::Pem(text) => Ok(text.clone()),
        Anchors::None => Ok(String::new()),
        Anchors::File(path) => read_file(path).map_err(|error| broken(format!("{}: {error}", path.display()))),
    }
}

fn read_file(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(MAX_FILE).read_to_string(&mut text)?;
    Ok(text)
}

/// The generation is the file's own word, else one more than the last.
fn parse(text: &str, last_generation: u64) -> Result<TrustBundle, Error> {
    let said =
        text.lines().find_map(|line| line.strip_prefix(GENERATION)).and_then(|number| number.trim().parse().ok());
    let anchors: Vec<Vec<u8>> = CertificateDer::pem_slice_iter(text.as_bytes())
        .map(|certificate| certificate.map(|der| der.to_vec()))
        .collect::<Result<_, _>>()
        .map_err(|error| broken(format!("trust anchors: {error}")))?;
    if anchors.len() > MAX_ANCHORS {
        return Err(broken(format!("trust anchors: more than {MAX_ANCHORS} certificates")));
    }
    Ok(TrustBundle { generation: said.unwrap_or(last_generation + 1), anchors, ..TrustBundle::default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Authority;

    /// Generation, and number of anchors.
    fn held(bundle: &Bundle) -> (u64, usize) {
        (bundle.trust.generation, bundle.bundle.anchors.len())
    }

    #[test]
    fn the_larger_generation_of_file_and_stream_is_in_force_and_revocations_are_not_forgotten() {
        let path = std::env::temp_dir().join(format!("gossamer-both-{}", std::process::id()));
        let (one, two) = (Authority::new("one"), Authority::new("two"));
        let file = |generation: u64| {
            std::fs::write(&path, format!("# generation: {generation}\n{}", one.anchors_pem())).unwrap();
        };
        let revoked = vec![wire::trust::Revocation {
            identity: crate::testing::identity("web"),
            issued_before: 1,
            serials: vec![],
        }];
        let stream = |generation: u64| TrustBundle {
            generation,
            anchors: vec![one.anchor_der(), two.anchor_der()],
            revoked: revoked.clone(),
            ..TrustBundle::default()
        };
        file(5);
        let mut bundle = Bundle::load(&Anchors::File(path.clone())).unwrap();
        assert_eq!(bundle.offer(&stream(4)), Ok(false));
        assert_eq!(held(&bundle), (5, 1));
        assert_eq!(bundle.offer(&stream(5)), Ok(true), "the stream knows more of the same generation");
        assert_eq!(bundle.offer(&stream(5)), Ok(false));
        file(4);
        assert_eq!(bundle.refresh(), Ok(false));
        assert_eq!(held(&bundle), (5, 2));
        file(6);
        assert_eq!(bundle.refresh(), Ok(true));
        assert_eq!((held(&bundle), &bundle.bundle.revoked), ((6, 1), &revoked));
        assert!(bundle.offer(&TrustBundle { anchors: vec![vec![1]], ..stream(8) }).is_err());
        assert_eq!(held(&bundle), (6, 1), "the last good one stays");
        assert_eq!(bundle.offer(&stream(7)), Ok(true));
        assert_eq!(held(&bundle), (7, 2));
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_changed_file_is_a_new_generation_and_a_broken_one_changes_nothing() {
        let path = std::env::temp_dir().join(format!("gossamer-anchors-{}", std::process::id()));
        let (one, two) = (Authority::new("one").anchors_pem(), Authority::new("two").anchors_pem());
        std::fs::write(&path, &one).unwrap();
        let mut bundle = Bundle::load(&Anchors::File(path.clone())).unwrap();
        assert_eq!(held(&bundle), (1, 1));
        assert_eq!(bundle.refresh(), Ok(false));
        std::fs::write(&path, format!("{one}{two}")).unwrap();
        assert_eq!(bundle.refresh(), Ok(true));
        assert_eq!(held(&bundle), (2, 2));
        std::fs::write(&path, "nothing").unwrap();
        assert!(bundle.refresh().is_err());
        assert_eq!(bundle.trust.generation, 2);
        std::fs::write(&path, format!("# generation: 9\n{two}")).unwrap();
        assert_eq!(bundle.refresh(), Ok(true));
        assert_eq!(held(&bundle), (9, 1));
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
