//! The processes of a run, as torchrun describes them in environment variables.

use std::time::Duration;

/// Time limit of a group's operations unless SER_GROUP_TIMEOUT sets another: PyTorch's default.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1800);

/// One process among those of a run.
///
/// Read from the variables that torchrun sets: RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR, MASTER_PORT,
/// and under torchrun itself TORCHELASTIC_USE_AGENT_STORE and TORCHELASTIC_RESTART_COUNT. Without RANK, WORLD_SIZE and
/// LOCAL_RANK the process is alone.
///
/// ```
/// use ser_core::distributed::Environment;
///
/// let variables = [("RANK", "1"), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", "29500")];
/// let get = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
/// let environment = Environment::from_variables(get)?;
/// assert_eq!((environment.rank, environment.size), (1, 2));
/// # Ok::<(), ser_core::distributed::EnvironmentError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Environment {
    /// Number of this process, from 0.
    pub rank: usize,
    /// Number of processes.
    pub size: usize,
    /// Number of this process among those of its machine, from 0.
    pub local_rank: usize,
    /// Number of processes on this machine.
    pub local_size: usize,
    /// Where the processes meet; none for a single process.
    pub rendezvous: Option<Rendezvous>,
    /// Time limit of every operation of the group, the meeting included: SER_GROUP_TIMEOUT in seconds, or 30 minutes.
    pub timeout: Duration,
}

/// Where the processes of a run meet.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rendezvous {
    /// Host name or address: MASTER_ADDR.
    pub host: String,
    /// Port: MASTER_PORT.
    pub port: u16,
    /// Whether torchrun's agent listens there; otherwise rank 0 does.
    pub hosted_by_agent: bool,
    /// Number of restarts by torchrun, which reuses the meeting place.
    pub attempt: usize,
    /// Network interface of the processes' connections: GLOO_SOCKET_IFNAME.
    pub interface: Option<String>,
}

/// Variables that describe no process of a run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvironmentError {
    /// A variable is missing beside another one.
    #[error(
        "the environment variable {set} is set and {missing} is not; set RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT for \
         several processes, as torchrun and `ser launch` do, or none of them for one process"
    )]
    Missing {
        /// The variable that is set.
        set: &'static str,
        /// The variable that is not.
        missing: &'static str,
    },
    /// A value that cannot be read.
    #[error("the environment variable {name} is {value:?}; it takes {takes}")]
    Invalid {
        /// The variable.
        name: &'static str,
        /// Its value.
        value: String,
        /// The values it takes.
        takes: &'static str,
    },
    /// A rank that is not below its number of processes, or more processes on a machine than in the run.
    #[error("the environment variables {name}={value} and {limit_name}={limit} are inconsistent: {rule}")]
    Inconsistent {
        /// The variable.
        name: &'static str,
        /// Its value.
        value: usize,
        /// The variable that limits it.
        limit_name: &'static str,
        /// The limit.
        limit: usize,
        /// The rule between the two.
        rule: &'static str,
    },
}

impl Default for Environment {
    fn default() -> Environment {
        Environment { rank: 0, size: 1, local_rank: 0, local_size: 1, rendezvous: None, timeout: DEFAULT_TIMEOUT }
    }
}

impl Environment {
    /// The environment of this process.
    ///
    /// # Errors
    /// Variables that are missing, unreadable or inconsistent.
    pub fn from_env() -> Result<Environment, EnvironmentError> {
        Environment::from_variables(|name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()))
    }

    /// Like [`from_env`](Environment::from_env), from other variables. An empty value counts as none.
    ///
    /// # Errors
    /// Variables that are missing, unreadable or inconsistent.
    pub fn from_variables(get: impl Fn(&str) -> Option<String>) -> Result<Environment, EnvironmentError> {
        let variables = Variables { get: |name: &str| get(name).filter(|value| !value.is_empty()) };
        let mut environment = Environment::default();
        if let Some(seconds) = variables.number("SER_GROUP_TIMEOUT", "a number of seconds from 1")? {
            if seconds == 0 {
                let takes = "a number of seconds from 1";
                return Err(EnvironmentError::Invalid { name: "SER_GROUP_TIMEOUT", value: "0".into(), takes });
            }
            environment.timeout = Duration::from_secs(seconds as u64);
        }
        let count = "a whole number from 0";
        let rank = variables.number("RANK", count)?;
        let size = variables.number("WORLD_SIZE", count)?;
        let local_rank = variables.number("LOCAL_RANK", count)?;
        let local_size = variables.number("LOCAL_WORLD_SIZE", count)?;
        let (rank, size) = match (rank, size) {
            (Some(rank), Some(size)) => (rank, size),
            (Some(_), None) => return Err(EnvironmentError::Missing { set: "RANK", missing: "WORLD_SIZE" }),
            (None, Some(_)) => return Err(EnvironmentError::Missing { set: "WORLD_SIZE", missing: "RANK" }),
            (None, None) if local_rank.is_some() => {
                return Err(EnvironmentError::Missing { set: "LOCAL_RANK", missing: "RANK" });
            }
            (None, None) => return Ok(environment),
        };
        below("RANK", rank, "WORLD_SIZE", size)?;
        // A launcher that starts one process per machine sets neither. If one alone is missing, as many processes as
        // there are may lie on this machine.
        let local_rank_or_0 = local_rank.unwrap_or(0);
        let local_size = local_size.unwrap_or(if local_rank.is_some() { size } else { 1 });
        below("LOCAL_RANK", local_rank_or_0, "LOCAL_WORLD_SIZE", local_size)?;
        if local_size > size {
            return Err(EnvironmentError::Inconsistent {
                name: "LOCAL_WORLD_SIZE",
                value: local_size,
                limit_name: "WORLD_SIZE",
                limit: size,
                rule: "a machine has at most all processes of the run",
            });
        }
        let rendezvous = if size > 1 { Some(variables.rendezvous()?) } else { None };
        Ok(Environment { rank, size, local_rank: local_rank_or_0, local_size, rendezvous, ..environment })
    }

    /// The threads of this process if its machine's cores are shared among the processes there: at least 1.
    pub fn threads(&self, cores: usize) -> usize {
        (cores / self.local_size.max(1)).max(1)
    }
}

struct Variables<G> {
    get: G,
}

impl<G: Fn(&str) -> Option<String>> Variables<G> {
    fn number(&self, name: &'static str, takes: &'static str) -> Result<Option<usize>, EnvironmentError> {
        let Some(value) = (self.get)(name) else { return Ok(None) };
        match value.trim().parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(EnvironmentError::Invalid { name, value, takes }),
        }
    }

    fn rendezvous(&self) -> Result<Rendezvous, EnvironmentError> {
        let required =
            |missing: &'static str| (self.get)(missing).ok_or(EnvironmentError::Missing { set: "WORLD_SIZE", missing });
        let host = required("MASTER_ADDR")?;
        let port = required("MASTER_PORT")?;
        let port = match port.trim().parse() {
            Ok(port) if port > 0 => port,
            _ => {
                return Err(EnvironmentError::Invalid {
                    name: "MASTER_PORT",
                    value: port,
                    takes: "a port from 1 to 65535",
                });
            }
        };
        let hosted_by_agent = (self.get)("TORCHELASTIC_USE_AGENT_STORE")
            .is_some_and(|value| ["true", "1"].contains(&value.to_ascii_lowercase().as_str()));
        let attempt = self.number("TORCHELASTIC_RESTART_COUNT", "a whole number from 0")?.unwrap_or(0);
        Ok(Rendezvous { host, port, hosted_by_agent, attempt, interface: (self.get)("GLOO_SOCKET_IFNAME") })
    }
}

fn below(name: &'static str, value: usize, limit_name: &'static str, limit: usize) -> Result<(), EnvironmentError> {
    if value < limit {
        return Ok(());
    }
    let rule = "the first is below the second";
    Err(EnvironmentError::Inconsistent { name, value, limit_name, limit, rule })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Environment, String> {
        let get = |name: &str| {
            let found =
                text.split_whitespace().filter_map(|part| part.split_once('=')).find(|(known, _)| *known == name);
            found.map(|(_, value)| value.to_owned())
        };
        Environment::from_variables(get).map_err(|error| error.to_string())
    }

    #[test]
    fn no_variables_mean_one_process() {
        assert_eq!(read("").unwrap(), Environment::default());
        // Containers of a cluster may have an address for each; it starts nothing.
        assert_eq!(read("MASTER_ADDR=a MASTER_PORT=1 WORLD_SIZE= RANK=").unwrap(), Environment::default());
        assert_eq!(read("RANK=0 WORLD_SIZE=1").unwrap(), Environment::default());
    }

    #[test]
    fn torchruns_variables() {
        let environment = read(
            "RANK=3 WORLD_SIZE=4 LOCAL_RANK=1 LOCAL_WORLD_SIZE=2 MASTER_ADDR=node-0 MASTER_PORT=29500 \
             TORCHELASTIC_USE_AGENT_STORE=True TORCHELASTIC_RESTART_COUNT=2 SER_GROUP_TIMEOUT=7",
        )
        .unwrap();
        assert_eq!((environment.rank, environment.size), (3, 4));
        assert_eq!((environment.local_rank, environment.local_size), (1, 2));
        assert_eq!((environment.threads(8), environment.threads(1)), (4, 1));
        assert_eq!(environment.timeout, Duration::from_secs(7));
        let rendezvous = environment.rendezvous.unwrap();
        assert_eq!((rendezvous.host.as_str(), rendezvous.port), ("node-0", 29500));
        assert!(rendezvous.hosted_by_agent && rendezvous.attempt == 2);
        let false_agent = "RANK=0 WORLD_SIZE=2 MASTER_ADDR=a MASTER_PORT=1 TORCHELASTIC_USE_AGENT_STORE=False";
        assert!(!read(false_agent).unwrap().rendezvous.unwrap().hosted_by_agent);
    }

    #[test]
    fn processes_of_a_machine_without_local_variables() {
        let at = "MASTER_ADDR=a MASTER_PORT=1";
        assert_eq!(read(&format!("RANK=1 WORLD_SIZE=4 {at}")).unwrap().local_size, 1);
        assert_eq!(read(&format!("RANK=1 WORLD_SIZE=4 LOCAL_RANK=1 {at}")).unwrap().local_size, 4);
    }

    #[test]
    fn half_set_and_inconsistent_variables_are_refused() {
        for (text, part) in [
            ("WORLD_SIZE=2", "WORLD_SIZE is set and RANK is not"),
            ("RANK=0", "RANK is set and WORLD_SIZE is not"),
            ("LOCAL_RANK=0", "LOCAL_RANK is set and RANK is not"),
            ("RANK=0 WORLD_SIZE=2", "WORLD_SIZE is set and MASTER_ADDR is not"),
            ("RANK=0 WORLD_SIZE=2 MASTER_ADDR=a", "WORLD_SIZE is set and MASTER_PORT is not"),
            ("RANK=2 WORLD_SIZE=2", "RANK=2 and WORLD_SIZE=2 are inconsistent"),
            ("RANK=0 WORLD_SIZE=0", "RANK=0 and WORLD_SIZE=0 are inconsistent"),
            ("RANK=0 WORLD_SIZE=2 LOCAL_RANK=1 LOCAL_WORLD_SIZE=1", "LOCAL_RANK=1 and LOCAL_WORLD_SIZE=1"),
            ("RANK=0 WORLD_SIZE=2 LOCAL_WORLD_SIZE=3", "LOCAL_WORLD_SIZE=3 and WORLD_SIZE=2"),
            ("RANK=-1 WORLD_SIZE=2", "RANK is \"-1\"; it takes a whole number"),
            ("RANK=0 WORLD_SIZE=2 MASTER_ADDR=a MASTER_PORT=70000", "MASTER_PORT is \"70000\""),
            ("SER_GROUP_TIMEOUT=0", "SER_GROUP_TIMEOUT is \"0\""),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
