//! Who a client is: by its certificate or address, and by AUTH.

use std::sync::Arc;

use crate::identity::{AuthKind, Identity, Who, is_user_name};
use crate::policy::{Policy, User};

/// A client's identity and the user it acts as.
#[derive(Debug)]
pub struct Login {
    identity: Identity,
    user: Option<Arc<User>>,
    /// The user is there by a password.
    by_password: bool,
}

/// Why an identity can't act as its user.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum LoginError {
    /// The identity rules name a user that no ACL file has.
    #[error("no ACL file defines this user")]
    NoSuchUser,
    /// The user is `off`.
    #[error("the user is off")]
    Disabled,
}

/// Why a session ends that had logged in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Revoked {
    /// Its user is no more.
    Deleted,
    /// Its user is `off`. Redis spares sessions that are logged in already.
    Off,
    /// It subscribes to what its user may not hear any more.
    Channel,
    /// It is a monitor or a replica, and its user may not be one any more.
    Command,
    /// The identity rules make somebody else of it now, or ask for more.
    Identity,
}

/// The name that clients give when they mean "the one user that I know of".
const DEFAULT: &str = "default";

// === impl Login ===

impl Login {
    /// Where the identity needs no AUTH, its user; or else nobody yet.
    ///
    /// # Errors
    /// The user is unknown or off: the client has no business here.
    pub fn new(identity: Identity, policy: &Policy) -> Result<Self, LoginError> {
        let user = match (identity.auth, Self::mapped(&identity)) {
            (AuthKind::Password, _) | (_, None) => None,
            (AuthKind::Certificate | AuthKind::Address, Some(name)) => {
                let user = policy.user(name).ok_or(LoginError::NoSuchUser)?;
                if !user.is_enabled() {
                    return Err(LoginError::Disabled);
                }
                Some(Arc::clone(user))
            }
        };
        Ok(Self {
            identity,
            user,
            by_password: false,
        })
    }

    /// Who the client is by the identity rules of now.
    ///
    /// # Errors
    /// The user that it acts as is not what they let it be by what it has shown. One that has yet to
    /// log in begins anew, too: what it will be asked for may be another thing.
    pub(super) fn identify(&mut self, identity: Identity) -> Result<(), Revoked> {
        let same = |old: &Identity| old.who == identity.who && old.auth == identity.auth;
        if !same(&self.identity) {
            let user = self.user.as_ref().ok_or(Revoked::Identity)?;
            let by_itself =
                identity.auth != AuthKind::Password && Self::mapped(&identity) == Some(user.name());
            let by_password = self.by_password && Self::allows(&identity, user.name());
            if !by_itself && !by_password {
                return Err(Revoked::Identity);
            }
        }
        self.identity = identity;
        Ok(())
    }

    /// The user whom the client acts as; `None` before AUTH.
    #[inline]
    pub fn user(&self) -> Option<&Arc<User>> {
        self.user.as_ref()
    }

    /// AUTH with or without a name. A failure changes nothing, as in Redis since 6.0 (before, it
    /// took the login away).
    ///
    /// Returns whether it succeeded.
    pub fn authenticate(&mut self, name: Option<&[u8]>, password: &[u8], policy: &Policy) -> bool {
        // A name that may not be chosen is looked up all the same, as one that nobody has: the time
        // taken doesn't tell the difference. The empty name is no user's.
        let name = self.meant(name);
        // Where a password is the only proof, 'nopass' would be none. A file that says so is refused;
        // this is for a user that was made at run time.
        let proves = |user: &User| self.identity.auth != AuthKind::Password || !user.is_nopass();
        match policy.authenticate(&name, password) {
            Some(user) if proves(user) => {
                self.user = Some(Arc::clone(user));
                self.by_password = true;
                true
            }
            _ => false,
        }
    }

    /// As whom the client acts, to come back to.
    pub(super) fn standing(&self) -> (Option<Arc<User>>, bool) {
        (self.user.clone(), self.by_password)
    }

    /// Back to whom it was before.
    pub(super) fn stand(&mut self, (user, by_password): (Option<Arc<User>>, bool)) {
        self.user = user;
        self.by_password = by_password;
    }

    /// The name of whom AUTH means that gives none.
    pub(super) fn nameless(&self) -> &str {
        Self::mapped(&self.identity).unwrap_or(DEFAULT)
    }

    /// Whether a password alone is for the user `default`, and that one needs none.
    pub(super) fn means_open_default(&self, policy: &Policy) -> bool {
        let user = policy.user(DEFAULT).filter(|user| user.is_nopass());
        user.is_some() && self.meant(None) == DEFAULT
    }

    /// Whom AUTH means by this name; empty: somebody whom this client can't be.
    pub(super) fn meant(&self, name: Option<&[u8]>) -> String {
        self.choose(name).unwrap_or_default()
    }

    /// Looks the user up anew, by its name. Returns whether it is another value than before.
    ///
    /// # Errors
    /// The user is gone or off. The login keeps it all the same, to be told who it was.
    pub(super) fn renew(&mut self, policy: &Policy) -> Result<bool, Revoked> {
        let Some(user) = &mut self.user else {
            return Ok(false);
        };
        let new = policy.user(user.name());
        // Between two looks a user may have been deleted, and another one made of its name.
        let new = new.filter(|new| new.became_of(user));
        let new = new.ok_or(Revoked::Deleted)?;
        if !new.is_enabled() {
            return Err(Revoked::Off);
        }
        let changed = !Arc::ptr_eq(user, new);
        if changed {
            *user = Arc::clone(new);
        }
        Ok(changed)
    }

    /// Back to who the client was when it came.
    pub fn reset(&mut self, policy: &Policy) {
        self.user = Self::new(self.identity.clone(), policy)
            .ok()
            .and_then(|login| login.user);
        self.by_password = false;
    }

    /// Whether the identity may be this user, if AUTH says so.
    fn allows(identity: &Identity, name: &str) -> bool {
        match &identity.who {
            Who::Fixed(only) => **only == *name,
            Who::OneOf(names) => names.iter().any(|one| **one == *name),
            Who::Chosen => true,
        }
    }

    /// The user that the identity stands for by itself.
    fn mapped(identity: &Identity) -> Option<&str> {
        match &identity.who {
            Who::Fixed(name) => Some(name),
            Who::OneOf(names) => names.first().map(|name| &**name),
            Who::Chosen => None,
        }
    }

    /// Whom AUTH means by this name; `None`: somebody whom this client can't be.
    fn choose(&self, name: Option<&[u8]>) -> Option<String> {
        let name = match name {
            Some(name) => Some(
                std::str::from_utf8(name)
                    .ok()
                    .filter(|name| is_user_name(name))?,
            ),
            None => None,
        };
        let allowed = |name: &str| Self::allows(&self.identity, name);
        match name {
            Some(name) if allowed(name) => Some(name.to_owned()),
            // An old client knows one password and no user: it means the one that it is mapped to.
            None | Some(DEFAULT) => {
                Some(Self::mapped(&self.identity).unwrap_or(DEFAULT).to_owned())
            }
            Some(_) => None,
        }
    }
}

// === impl Revoked ===

impl Revoked {
    /// The label used in the audit. Stable.
    pub fn label(self) -> &'static str {
        match self {
            Self::Deleted => "user_deleted",
            Self::Off => "user_off",
            Self::Channel => "channel_lost",
            Self::Command => "command_lost",
            Self::Identity => "identity_changed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Table;
    use crate::policy::Source;

    fn policy() -> Policy {
        let content = b"user cart on >cart-pw\nuser ops on >ops-pw\nuser default on >default-pw\n\
                        user gone off >gone-pw\nuser bare on\n";
        let source = Source {
            path: "users.acl".into(),
            content: content.to_vec(),
        };
        Policy::parse(&[source], &Table::builtin()).unwrap().0
    }

    fn login(who: Who, auth: AuthKind) -> Login {
        Login::new(Identity { rule: 0, who, auth }, &policy()).unwrap()
    }

    fn name(login: &Login) -> Option<&str> {
        login.user().map(|user| user.name())
    }

    #[test]
    fn a_certificate_needs_no_auth_and_its_old_password_still_works() {
        let mut login = login(Who::Fixed("cart".into()), AuthKind::Certificate);
        assert_eq!(name(&login), Some("cart"));
        let cases: &[(Option<&str>, &str, bool)] = &[
            (None, "cart-pw", true),
            (Some("default"), "cart-pw", true),
            (Some("cart"), "cart-pw", true),
            (None, "default-pw", false),
            (Some("default"), "default-pw", false),
            (Some("ops"), "ops-pw", false),
            (Some(""), "cart-pw", false),
        ];
        for (user, password, expected) in cases {
            let user = user.map(str::as_bytes);
            assert_eq!(
                login.authenticate(user, password.as_bytes(), &policy()),
                *expected
            );
            assert_eq!(name(&login), Some("cart"), "a failure changes nothing");
        }
    }

    #[test]
    fn auth_chooses_among_the_users_of_a_rule() {
        let who = || Who::OneOf(vec!["cart".into(), "ops".into()].into());
        let mut by_certificate = login(who(), AuthKind::Certificate);
        assert_eq!(name(&by_certificate), Some("cart"));
        assert!(by_certificate.authenticate(Some(b"ops"), b"ops-pw", &policy()));
        assert_eq!(name(&by_certificate), Some("ops"));
        assert!(!by_certificate.authenticate(Some(b"gone"), b"gone-pw", &policy()));
        by_certificate.reset(&policy());
        assert_eq!(name(&by_certificate), Some("cart"));
        let mut by_password = login(who(), AuthKind::Password);
        assert_eq!(name(&by_password), None);
        assert!(by_password.authenticate(Some(b"ops"), b"ops-pw", &policy()));
        by_password.reset(&policy());
        assert_eq!(name(&by_password), None);
    }

    #[test]
    fn auth_names_anybody_where_the_rule_says_so() {
        let mut login = login(Who::Chosen, AuthKind::Password);
        assert!(!login.authenticate(Some(b"gone"), b"gone-pw", &policy()));
        assert!(!login.authenticate(Some(b"bare"), b"", &policy()));
        assert_eq!(name(&login), None);
        assert!(login.authenticate(None, b"default-pw", &policy()));
        assert_eq!(name(&login), Some("default"));
        assert!(login.authenticate(Some(b"ops"), b"ops-pw", &policy()));
        assert_eq!(name(&login), Some("ops"));
    }

    #[test]
    fn a_user_without_password_is_nobody_to_who_must_show_one() {
        let policy = policy();
        let table = Table::builtin();
        let policy = policy.with_user(b"open", &[b"on", b"nopass"], &table);
        let policy = policy.unwrap();
        let mut by_password = login(Who::Chosen, AuthKind::Password);
        assert!(!by_password.authenticate(Some(b"open"), b"x", &policy));
        let identity = Identity {
            rule: 0,
            who: Who::Fixed("open".into()),
            auth: AuthKind::Certificate,
        };
        let mut by_certificate = Login::new(identity, &policy).unwrap();
        assert!(by_certificate.authenticate(None, b"x", &policy));
    }

    #[test]
    fn other_identity_rules_keep_whom_they_would_let_in_by_the_same_proof() {
        use AuthKind::{Certificate, Password};
        let fixed = |name: &str| Who::Fixed(name.into());
        let one_of = |names: &[&str]| {
            let names: Vec<Arc<str>> = names.iter().map(|name| (*name).into()).collect();
            Who::OneOf(names.into())
        };
        let identity = |who, auth| Identity { rule: 9, who, auth };
        // As `cart` by certificate alone, and having shown the password too.
        let cases = [
            (fixed("cart"), Certificate, true, true),
            (fixed("ops"), Certificate, false, false),
            (fixed("cart"), Password, false, true),
            (one_of(&["cart", "ops"]), Certificate, true, true),
            (one_of(&["ops", "cart"]), Certificate, false, true),
            (one_of(&["ops", "gone"]), Certificate, false, false),
            (Who::Chosen, Password, false, true),
        ];
        for (who, auth, bare, with_password) in cases {
            let mut login = login(fixed("cart"), Certificate);
            let told = format!("{who:?} {auth:?}");
            let kept = login.identify(identity(who.clone(), auth)).is_ok();
            assert_eq!(kept, bare, "{told}");
            let mut login = self::login(fixed("cart"), Certificate);
            assert!(login.authenticate(None, b"cart-pw", &policy()));
            let kept = login.identify(identity(who, auth)).is_ok();
            assert_eq!(kept, with_password, "{told}, by password");
            assert_eq!(name(&login), Some("cart"));
        }
        let mut nobody = login(fixed("cart"), Password);
        assert!(nobody.identify(identity(fixed("cart"), Password)).is_ok());
        assert!(nobody.identify(identity(fixed("ops"), Password)).is_err());
    }

    #[test]
    fn a_reset_forgets_the_password() {
        let mut login = login(Who::Fixed("cart".into()), AuthKind::Certificate);
        assert!(login.authenticate(None, b"cart-pw", &policy()));
        login.reset(&policy());
        let stricter = Identity {
            rule: 0,
            who: Who::Fixed("cart".into()),
            auth: AuthKind::Password,
        };
        assert_eq!(login.identify(stricter), Err(Revoked::Identity));
    }

    #[test]
    fn an_unknown_or_disabled_user_gets_nowhere() {
        for (user, error) in [
            ("nobody", LoginError::NoSuchUser),
            ("gone", LoginError::Disabled),
        ] {
            let who = Who::Fixed(user.into());
            let identity = Identity {
                rule: 0,
                who,
                auth: AuthKind::Certificate,
            };
            assert_eq!(Login::new(identity, &policy()).unwrap_err(), error);
        }
    }
}
