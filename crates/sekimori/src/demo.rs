//! The demo: the paper's figures 2, 3 and 4 as scenes, on the real kernel or simulated.
//!
//! What a scene must show stands here once; the two stages only play.

mod cast;
mod live;
mod print;
mod simulated;

use std::process::ExitCode;

use policy::Reason;
use present::Style;
use serde_json::{Value, json};

pub use cast::{Part, play};
pub use live::Stage;

use crate::failure::Failure;
use crate::output::say;

/// What somebody does in a scene.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// The user starts the registered mailer from the desktop, and it sends.
    UserSends,
    /// A bot sends with an SMTP engine of its own.
    OwnEngine,
    /// A bot starts the registered mailer to send for it.
    DrivesMailer,
}

/// One scene, and how it must go.
#[derive(Clone, Copy, Debug)]
pub struct Scene {
    /// Its name for programs.
    pub name: &'static str,
    /// What happens, in a sentence.
    pub story: &'static str,
    /// What is done.
    pub deed: Deed,
    /// The bot holds an IRC connection meanwhile.
    pub irc: bool,
    /// The reason of the verdict; [`Reason::Permitted`] means allow.
    reason: Reason,
    /// The finding.
    finding: Option<&'static str>,
}

/// The scenes in their order.
pub const SCENES: [Scene; 5] = [
    Scene {
        name: "figure-2",
        story: "The user's desktop starts the registered mailer, which sends a message.",
        deed: Deed::UserSends,
        irc: false,
        reason: Reason::Permitted,
        finding: None,
    },
    Scene {
        name: "figure-3",
        story: "A bot sends with an SMTP engine of its own.",
        deed: Deed::OwnEngine,
        irc: false,
        reason: Reason::NotAMailer,
        finding: Some("illegal-send"),
    },
    Scene {
        name: "figure-4",
        story: "A bot starts the registered mailer to send for it.",
        deed: Deed::DrivesMailer,
        irc: false,
        reason: Reason::ForeignOrigin,
        finding: Some("illegal-send"),
    },
    Scene {
        name: "figure-3-irc",
        story: "The bot takes the order from its IRC channel, and sends with its own engine.",
        deed: Deed::OwnEngine,
        irc: true,
        reason: Reason::NotAMailer,
        finding: Some("bot-suspected"),
    },
    Scene {
        name: "figure-4-irc",
        story: "The bot takes the order from its IRC channel, and starts the mailer.",
        deed: Deed::DrivesMailer,
        irc: true,
        reason: Reason::ForeignOrigin,
        finding: Some("bot-suspected"),
    },
];

/// What came of a scene.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The verdict's entry in the journal.
    pub verdict: Option<Value>,
    /// The finding's entry in the journal.
    pub finding: Option<Value>,
    /// The bot's path on this stage.
    pub bot: String,
    /// Messages that the mail server received.
    pub messages_delivered: u64,
    /// Payload bytes that reached the mail server.
    pub payload_bytes: u64,
}

impl Outcome {
    /// Whether it went as the scene must.
    fn is_as_expected(&self, scene: &Scene) -> bool {
        let text = |entry: &Option<Value>, key: &str| {
            entry
                .as_ref()
                .and_then(|entry| entry[key].as_str())
                .map(str::to_owned)
        };
        let allowed = scene.reason == Reason::Permitted;
        let blame = match scene.deed {
            Deed::UserSends => true,
            Deed::OwnEngine | Deed::DrivesMailer => {
                text(&self.verdict, "culprit").as_deref() == Some(self.bot.as_str())
            }
        };
        text(&self.verdict, "verdict").as_deref() == Some(if allowed { "allow" } else { "refuse" })
            && text(&self.verdict, "reason").as_deref() == Some(scene.reason.word())
            && text(&self.finding, "finding").as_deref() == scene.finding
            && blame
            && self.messages_delivered == u64::from(allowed)
            && (self.payload_bytes > 0) == allowed
    }

    fn to_json(&self, scene: &Scene, simulated: bool) -> Value {
        let field = |entry: &Option<Value>, key: &str| {
            entry
                .as_ref()
                .map_or(Value::Null, |entry| entry[key].clone())
        };
        let mut object = json!({
            "type": "scene",
            "scene": scene.name,
            "as_expected": self.is_as_expected(scene),
            "verdict": field(&self.verdict, "verdict"),
            "reason": field(&self.verdict, "reason"),
            "finding": field(&self.finding, "finding"),
            "culprit": field(&self.verdict, "culprit"),
            "messages_delivered": self.messages_delivered,
            "payload_bytes_at_server": self.payload_bytes,
        });
        if simulated {
            object["simulated"] = true.into();
        }
        object
    }
}

/// Where scenes are played.
pub trait Play {
    /// Whether no kernel is involved.
    const SIMULATED: bool;
    /// Plays one scene to its end.
    ///
    /// # Errors
    ///
    /// When the stage itself fails; a scene that goes wrong is an outcome.
    fn play(&mut self, scene: &Scene) -> Result<Outcome, Failure>;
}

/// Plays all scenes and tells of each.
///
/// # Errors
///
/// Status 1 when a scene did not go as it must, or the stage failed.
pub fn tell<P: Play>(stage: &mut P, json: bool, style: Style) -> Result<ExitCode, Failure> {
    let mut outcomes = Vec::new();
    for scene in &SCENES {
        let outcome = stage.play(scene)?;
        if json {
            say(&outcome.to_json(scene, P::SIMULATED).to_string());
        } else {
            print::scene(scene, &outcome, P::SIMULATED, style);
        }
        outcomes.push(outcome);
    }
    if !json {
        print::summary(&outcomes, P::SIMULATED, style);
    }
    let wrong = SCENES
        .iter()
        .zip(&outcomes)
        .filter(|(scene, outcome)| !outcome.is_as_expected(scene))
        .count();
    if wrong > 0 {
        return Err(Failure::failed(format!(
            "{wrong} of {} scenes did not go as they must",
            SCENES.len()
        )));
    }
    Ok(ExitCode::SUCCESS)
}

/// The stage without a kernel.
pub fn simulated() -> impl Play {
    simulated::Simulation::new()
}
