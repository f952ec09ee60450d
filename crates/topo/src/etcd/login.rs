//! Logging in with a user and a password, where etcd asks for it.

use super::NAME;
use crate::error::{Category, TopoError};
use crate::open::Options;
use crate::url::{EtcdUrl, Secret};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use tonic::metadata::{Ascii, MetadataValue};

/// Who logs in, and the token that it gave.
pub(super) struct Login {
    pub(super) user: String,
    password: Password,
    session: Mutex<Session>,
    /// Held while logging in, so that many calls that lost their token log in once.
    pub(super) turnstile: tokio::sync::Mutex<()>,
}

enum Password {
    Known(Secret),
    File(PathBuf),
}

/// The state after a number of log-ins.
#[derive(Clone, Default)]
pub(super) struct Session {
    pub(super) number: u64,
    /// Absent before the first log-in, and where etcd asks for none.
    pub(super) token: Option<MetadataValue<Ascii>>,
}

impl Login {
    /// The login that URL and options ask for; none without a user.
    pub(super) fn new(url: &EtcdUrl, options: &Options) -> Result<Option<Self>, TopoError> {
        let Some(user) = url.user.clone().or_else(|| options.user.clone()) else {
            return Ok(None);
        };
        let known = |secret: &Secret| Password::Known(secret.clone());
        let file = |path: &PathBuf| Password::File(path.clone());
        let password = url
            .password
            .as_ref()
            .map(known)
            .or_else(|| url.password_file.as_ref().map(file))
            .or_else(|| options.password.as_ref().map(known))
            .or_else(|| options.password_file.as_ref().map(file));
        let Some(password) = password else {
            let message = format!(
                "there is a user {user:?} but no password; set HANSA_TOPO_PASSWORD_FILE, or add \
                 password-file=FILE to the URL"
            );
            return Err(TopoError::new(Category::Configuration, NAME, message));
        };
        let login = Login { user, password, session: Mutex::default(), turnstile: tokio::sync::Mutex::default() };
        login.read_password()?;
        Ok(Some(login))
    }

    pub(super) fn session(&self) -> Session {
        self.session.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn renew(&self, token: Option<MetadataValue<Ascii>>) {
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        session.number += 1;
        session.token = token;
    }

    /// The password as it is now. Files are small, and read once a log-in.
    pub(super) fn read_password(&self) -> Result<String, TopoError> {
        match &self.password {
            Password::Known(secret) => Ok(secret.reveal().to_owned()),
            Password::File(path) => crate::open::read_password(NAME, path),
        }
    }
}
