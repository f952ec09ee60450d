//! Holding an appointment: winning it, renewing it, stopping early, letting it go.

use super::driver::now_ms;
use super::{AgreeError, Agreement, Waiting};
use hansa_ballot::appointments::{Claim, Hold, Patience};
use hansa_ballot::motion::Answer;
use hansa_ballot::{Key, Motion};
use hansa_model::Term;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The shortest lease: a renewal and its repetition have to fit into a third of it.
const MIN_TTL: Duration = Duration::from_millis(50);

/// An appointment that is held. Dropping it resigns.
///
/// A lease alone only shortens the time in which two could act: give the term to what is acted on, and
/// let it refuse a lower one, as [`Appointment::write`] does.
#[derive(Debug)]
pub struct Appointment {
    pub(super) agreement: Agreement,
    key: Key,
    term: Term,
    hold: watch::Receiver<Hold>,
    renewing: JoinHandle<()>,
}

impl Appointment {
    pub(super) async fn win(agreement: Agreement, key: Key, ttl: Duration) -> Result<Self, AgreeError> {
        if ttl < MIN_TTL {
            return Err(AgreeError::Invalid(format!("{key}: a lease of {ttl:?} is too short: at least {MIN_TTL:?}")));
        }
        let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        let (mut patience, mut waiting) = (Patience::default(), Waiting::default());
        let mut view = agreement.view.clone();
        loop {
            let (claim, beat) = standing(&agreement, &key);
            let may_ms = patience.look(claim.as_ref(), beat, now_ms());
            if may_ms > now_ms() {
                waiting.on(&key, agreement.waiting(key.as_str()));
                let wait = Duration::from_millis(may_ms.saturating_sub(now_ms()));
                tokio::select! {
                    changed = view.changed() => changed.map_err(|_| AgreeError::Closed)?,
                    () = tokio::time::sleep(wait) => {}
                }
                continue;
            }
            let over = claim.filter(|claim| claim.member.is_some()).map(|claim| claim.term);
            let sent_ms = now_ms();
            match agreement.settle(&key, Motion::Claim { key: key.clone(), over, ttl_ms }).await {
                Ok(Answer::Term(term)) => {
                    return Ok(Self::hold(agreement, key, Hold { sent_ms, term, ttl_ms }));
                }
                Err(AgreeError::Refused(why)) if !agreement.votes() => return Err(AgreeError::Refused(why)),
                // Somebody else was faster: that is waited out.
                Err(AgreeError::Refused(_)) => {}
                Err(error) => return Err(error),
                Ok(other) => return Err(super::unexpected(&other)),
            }
        }
    }

    fn hold(agreement: Agreement, key: Key, hold: Hold) -> Self {
        let term = hold.term;
        let (sender, receiver) = watch::channel(hold);
        let renewing = tokio::spawn(renew(agreement.clone(), key.clone(), sender));
        Appointment { agreement, key, term, hold: receiver, renewing }
    }

    /// The term: nobody had it before, and every later holder has a higher one.
    pub fn term(&self) -> Term {
        self.term
    }

    /// What is held.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Whether it is held now. Ask before each thing that is done under it.
    pub fn holds(&self) -> bool {
        self.hold.borrow().holds(now_ms())
    }

    /// Ends when it is held no more, before anybody else can hold it.
    pub async fn lost(&self) {
        let mut hold = self.hold.clone();
        loop {
            let yields_ms = hold.borrow_and_update().yield_at_ms();
            if yields_ms <= now_ms() {
                return;
            }
            let left = Duration::from_millis(yields_ms.saturating_sub(now_ms()));
            tokio::select! {
                // Without a renewal to come, the time alone tells.
                _ = hold.changed(), if hold.has_changed().is_ok() => {}
                () = tokio::time::sleep(left) => {}
            }
        }
    }

    /// Lets it go, so that another may hold it at once.
    ///
    /// # Errors
    /// When the agreement was closed; the lease then ends by itself.
    pub async fn resign(self) -> Result<(), AgreeError> {
        self.renewing.abort();
        let motion = Motion::Resign { key: self.key.clone(), term: self.term };
        self.agreement.settle(&self.key, motion).await.map(|_| ())
    }
}

impl Drop for Appointment {
    fn drop(&mut self) {
        self.renewing.abort();
        let motion = Motion::Resign { key: self.key.clone(), term: self.term };
        self.agreement.say(motion);
    }
}

/// The claim that stands, and its holder's last beat.
fn standing(agreement: &Agreement, key: &Key) -> (Option<Claim>, u64) {
    let ballots = agreement.document();
    let claim = ballots.as_ref().and_then(|ballots| ballots.appointments.claims.get(key).cloned());
    let beat = ballots.zip(claim.as_ref()).and_then(|(ballots, claim)| {
        let cell = ballots.slot(claim.member.as_ref()?)?.cell().ok()?.clone();
        cell.beats.get(key).filter(|beat| beat.term == claim.term).map(|beat| beat.beat)
    });
    (claim, beat.unwrap_or(0))
}

async fn renew(agreement: Agreement, key: Key, sender: watch::Sender<Hold>) {
    for beat in 1.. {
        let hold = *sender.borrow();
        tokio::time::sleep(Duration::from_millis(hold.renew_at_ms().saturating_sub(now_ms()))).await;
        let sent_ms = now_ms();
        let renewed = agreement.settle(&key, Motion::Renew { key: key.clone(), term: hold.term, beat }).await;
        match renewed
            .and_then(|answer| if matches!(answer, Answer::Term(_)) { Ok(()) } else { Err(super::unexpected(&answer)) })
        {
            Ok(()) => {
                sender.send_replace(Hold { sent_ms, ..hold });
            }
            Err(error) => {
                tracing::warn!(%key, term = %hold.term, "not renewed: {error}");
                // It counts from the last renewal, and then ends; at once where the term is known to be over.
                if matches!(error, AgreeError::Refused(_)) {
                    sender.send_replace(Hold { ttl_ms: 0, ..hold });
                }
                return;
            }
        }
    }
}
