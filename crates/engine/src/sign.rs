//! The signs of an infection, and how much each of them weighs: one table, with a reason each.

use serde::{Deserialize, Serialize};

/// What was observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sign {
    /// IRC going on in the very lineage that tried to send.
    IrcSameLineage,
    /// IRC going on elsewhere on the machine.
    IrcElsewhere,
    /// IRC of the same lineage that ended shortly before.
    IrcJustEnded,
    /// A program that is no mailer speaks to mail servers itself (the paper's figure 3).
    OwnEngine,
    /// A culprit drives a registered mailer or submitter (the paper's figure 4).
    DrivesMailer,
    /// Many different mail servers in a short time.
    FanOut,
    /// The gate refused to let its mail out.
    RefusedMail,
    /// Mail exchangers of many domains were looked up (the second generation).
    MxLookups,
    /// Addresses of mail hosts were looked up and contacted, with no question for mail
    /// exchangers (the third generation).
    MailHostLookups,
    /// Many different hosts did not answer on one port.
    Scan,
    /// More than a hundred of them, on a port that worms enter by.
    WormScan,
    /// It speaks IRC.
    SpeaksIrc,
    /// Its nickname in IRC looks made by a machine.
    MachineNick,
    /// It joined a channel with a key.
    KeyedChannel,
    /// Orders as bots take them, with their target, in a channel or to its nickname.
    BotCommand,
    /// Words that bots take as orders, but people use too.
    BotCommandWord,
    /// It answers in the words of bots.
    BotReply,
    /// Bytes came in on a quiet connection and it acted within seconds, more than once.
    CommandReaction,
    /// An order named its target, and it turned to it at once.
    Obeyed,
    /// Regular connections to one destination.
    Beaconing,
    /// The same web servers asked in turn, over and over.
    ServerRounds,
    /// The same files asked for with another number each time, as no browser asks.
    NumberedRequests,
    /// Many peers on unregistered ports that do not answer.
    DeadPeers,
    /// Others deliver their mail to it.
    MailServer,
    /// An interactive mailer sent while nobody used the computer.
    NobodyThere,
    /// Many attempts in a short time.
    Repeated,
    /// The process was tampered with.
    Tampering,
    /// A packet that went around connect().
    BypassedConnect,
    /// It wrote into a connection that was granted to a mailer.
    UsesAnothersGrant,
    /// It spoke mail on a port that is no mail port.
    MailOnOtherPort,
    /// The program lies where droppers put theirs.
    DropperPath,
    /// A registered program in the wrong circumstances, without a culprit.
    NoCulprit,
    /// The registered file changed, as it does in an upgrade.
    FileChanged,
    /// The lineage is older than the gate and therefore not known for sure.
    OlderThanGate,
}

/// Sign, weight, and why it weighs that much. Positive speaks for an infection. The unit
/// is arbitrary; only the order and the proportions mean something.
const WEIGHTS: [(Sign, i32, &str); 34] = [
    (
        Sign::IrcSameLineage,
        60,
        "command channel and illegal send in one lineage is what the paper calls a bot",
    ),
    (
        Sign::WormScan,
        55,
        "worms spread like this; from a desk, only a scan of a whole network by hand looks the same",
    ),
    (
        Sign::Obeyed,
        50,
        "the order named its target, and somebody turned to it: that is what a bot is",
    ),
    (
        Sign::ServerRounds,
        45,
        "droppers go through the list of their servers; monitoring of servers does as well",
    ),
    (
        Sign::BotCommand,
        40,
        "nobody says this in a chat; a single one can be a quotation",
    ),
    (
        Sign::BotReply,
        40,
        "the stock answers of bot families; hardly a person writes them",
    ),
    (
        Sign::CommandReaction,
        40,
        "whatever the protocol, a bot acts when it is told to; twice is hardly chance",
    ),
    (
        Sign::DeadPeers,
        40,
        "peers of a botnet are machines of others, mostly gone; file sharing and games are alike",
    ),
    (
        Sign::Scan,
        35,
        "worms look for victims like this; so do administrators, seldom",
    ),
    (
        Sign::NumberedRequests,
        35,
        "defeats caches and counts the infected; counters in web pages do, but browsers ask for them",
    ),
    (
        Sign::DrivesMailer,
        30,
        "the paper's figure 4; people's own scripts do this too, once, and then get registered",
    ),
    (
        Sign::OwnEngine,
        30,
        "the paper's figure 3; few programs except mailers have an SMTP engine of their own",
    ),
    (
        Sign::MailOnOtherPort,
        30,
        "an SMTP engine of its own, as in figure 3; people who test mail servers have one too",
    ),
    (
        Sign::UsesAnothersGrant,
        30,
        "a connected socket does not change hands by chance; a mailer may leave one to its helper",
    ),
    (
        Sign::Tampering,
        30,
        "nobody but a debugger has an honest reason, and nobody debugs a mailer while sending",
    ),
    (
        Sign::BypassedConnect,
        25,
        "raw packets to mail ports need effort that only evasion repays",
    ),
    (
        Sign::FanOut,
        25,
        "a mailer knows one or two servers; spam goes to each recipient's own",
    ),
    (
        Sign::IrcElsewhere,
        25,
        "the paper's rule as it stands: some program on this machine takes orders over IRC",
    ),
    (
        Sign::RefusedMail,
        25,
        "not yet an infection, but mail that nobody asked for",
    ),
    (
        Sign::MxLookups,
        25,
        "mailers of people hand mail to one server; only mail servers and spam engines look up exchangers",
    ),
    (
        Sign::IrcJustEnded,
        20,
        "bots hang up while they work; weaker than an open channel",
    ),
    (
        Sign::DropperPath,
        20,
        "installed programs do not live there; build folders and games sometimes do",
    ),
    (
        Sign::MailHostLookups,
        20,
        "guessing mail hosts by name saves a spam engine the lookup; people have one or two of them",
    ),
    (
        Sign::MachineNick,
        20,
        "Rishi (Goebel and Holz 2007): bots number themselves; people do it now and then",
    ),
    (
        Sign::NobodyThere,
        15,
        "such a mailer sends when a person presses send; one that sends at a set time does so too",
    ),
    (
        Sign::Repeated,
        15,
        "people give up after a few refusals, programs do not; honest retries exist",
    ),
    (
        Sign::SpeaksIrc,
        15,
        "half of the classic bots take their orders over IRC; most who speak it are people",
    ),
    (
        Sign::BotCommandWord,
        15,
        "channel robots for people have some of the same words",
    ),
    (
        Sign::KeyedChannel,
        10,
        "herders lock their channels; so do closed groups of people",
    ),
    (
        Sign::Beaconing,
        10,
        "bots report regularly; updaters, clocks and mail checks do as well",
    ),
    (
        Sign::OlderThanGate,
        -10,
        "on the first day honest processes look foreign until they are started anew",
    ),
    (
        Sign::FileChanged,
        -15,
        "an upgrade is by far the most common cause",
    ),
    (
        Sign::NoCulprit,
        -20,
        "every program in the lineage is registered; a wrong registration is likelier",
    ),
    (
        Sign::MailServer,
        -30,
        "a mail server looks up exchangers and talks to many servers by profession",
    ),
];

impl Sign {
    /// How much it weighs; positive speaks for an infection.
    pub fn weight(self) -> i32 {
        WEIGHTS
            .iter()
            .find(|(sign, ..)| *sign == self)
            .map_or(0, |(_, weight, _)| *weight)
    }

    /// Whether it is about IRC.
    pub const fn is_irc(self) -> bool {
        matches!(
            self,
            Self::IrcSameLineage | Self::IrcElsewhere | Self::IrcJustEnded
        )
    }

    /// Whether it is about an IRC connection that was open at that moment.
    pub const fn is_open_irc(self) -> bool {
        matches!(self, Self::IrcSameLineage | Self::IrcElsewhere)
    }

    /// Whether it can only be known from IRC communication, open or ended.
    pub const fn shows_irc(self) -> bool {
        self.is_irc() || self.is_irc_conduct()
    }

    /// Whether it is about what was done or said in IRC.
    const fn is_irc_conduct(self) -> bool {
        matches!(
            self,
            Self::SpeaksIrc
                | Self::MachineNick
                | Self::KeyedChannel
                | Self::BotCommand
                | Self::BotCommandWord
                | Self::BotReply
        )
    }

    /// Whether it speaks for somebody who gives orders from afar.
    pub(crate) const fn is_control(self) -> bool {
        self.is_irc_conduct()
            || matches!(
                self,
                Self::CommandReaction
                    | Self::Beaconing
                    | Self::ServerRounds
                    | Self::NumberedRequests
                    | Self::DeadPeers
            )
    }

    /// Whether it is what bots are for.
    pub(crate) const fn is_act(self) -> bool {
        matches!(
            self,
            Self::FanOut
                | Self::RefusedMail
                | Self::MxLookups
                | Self::MailHostLookups
                | Self::Scan
                | Self::WormScan
                | Self::Obeyed
        )
    }

    /// Whether it is an act about mail, which a mail server does by profession.
    pub(crate) const fn is_mail_act(self) -> bool {
        matches!(
            self,
            Self::FanOut | Self::RefusedMail | Self::MxLookups | Self::MailHostLookups
        )
    }

    /// Whether it is control as honest people have it too: they chat, in channels with keys
    /// and among robots, and their programs look after servers. However many of them there
    /// are, together they weigh no more than `detect::MILD_MOST`.
    pub(crate) const fn is_mild(self) -> bool {
        matches!(
            self,
            Self::SpeaksIrc
                | Self::KeyedChannel
                | Self::BotCommandWord
                | Self::Beaconing
                | Self::ServerRounds
        )
    }

    /// Why it weighs that much.
    pub fn why(self) -> &'static str {
        WEIGHTS
            .iter()
            .find(|(sign, ..)| *sign == self)
            .map_or("", |(.., why)| *why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sign_has_one_weight_and_a_reason() {
        for (index, (sign, weight, why)) in WEIGHTS.iter().enumerate() {
            assert!(*weight != 0 && !why.is_empty());
            assert_eq!(
                WEIGHTS.iter().position(|(other, ..)| other == sign),
                Some(index)
            );
            assert_eq!((sign.weight(), sign.why()), (*weight, *why));
        }
        assert!(WEIGHTS.is_sorted_by_key(|(_, weight, _)| -weight));
    }

    #[test]
    fn irc_of_the_same_lineage_outweighs_everything() {
        for (sign, weight, _) in WEIGHTS {
            assert!(sign == Sign::IrcSameLineage || weight < Sign::IrcSameLineage.weight());
        }
    }
}
