//! How much stack the kernel programs need, counted as Linux 6.1 counts it.
//!
//! A chain of calls may use 512 bytes. Linux 6.1 rounds each function of the chain up to 32 bytes,
//! newer ones to 16 or not at all. So an object that this machine's kernel accepts may be one that
//! Debian 12 does not load, and no test here would say so.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, Result, bail};
use object::{
    Object, ObjectSection, ObjectSymbol, RelocationTarget, SectionIndex, SectionKind, SymbolKind,
};

/// What a chain of calls may use.
const MOST: u32 = 512;
/// To what each function of the chain is rounded up.
const STEP: u32 = 32;
/// A chain of calls has no more functions than this.
const CALLS_MAX: usize = 8;

const BYTES: usize = 8;
const CALL: u8 = 0x85;
const LOAD_ADDRESS: u8 = 0x18;
const MOVE: u8 = 0xbf;
const ADD: u8 = 0x07;
const FRAME: u8 = 10;
/// The source register of a call of another function of the program.
const OF_PROGRAM: u8 = 1;

/// A function: its section, and where in it.
type Place = (usize, u64);

struct Function {
    name: String,
    stack: u32,
    calls: Vec<Place>,
}

/// Whether every chain of calls has room.
///
/// # Errors
///
/// When one has none, with the functions and their stack, or when the object cannot be read.
pub fn check(bytes: &[u8]) -> Result<()> {
    let functions = functions(bytes)?;
    for place in functions.keys() {
        let (total, chain) = deepest(&functions, *place, &mut Vec::new());
        if total > MOST {
            bail!(
                "Linux 6.1 does not load this object: a chain of calls needs {total} bytes of stack, \
                 where {MOST} are allowed: {}",
                chain.join(", ")
            );
        }
    }
    Ok(())
}

/// The stack of the deepest chain that begins at a function, and the functions of the chain.
fn deepest(
    functions: &BTreeMap<Place, Function>,
    place: Place,
    above: &mut Vec<Place>,
) -> (u32, Vec<String>) {
    let Some(function) = functions.get(&place) else {
        return (0, Vec::new());
    };
    let mut deepest_call = (0, Vec::new());
    if above.len() < CALLS_MAX {
        above.push(place);
        for call in &function.calls {
            if above.contains(call) {
                continue;
            }
            let below = deepest(functions, *call, above);
            if below.0 > deepest_call.0 {
                deepest_call = below;
            }
        }
        above.pop();
    }
    let mut chain = vec![format!("{} {}", function.name, function.stack)];
    chain.append(&mut deepest_call.1);
    (
        function.stack.max(1).next_multiple_of(STEP) + deepest_call.0,
        chain,
    )
}

fn functions(bytes: &[u8]) -> Result<BTreeMap<Place, Function>> {
    let file = object::File::parse(bytes).context("the kernel object")?;
    let mut all = BTreeMap::new();
    for section in file
        .sections()
        .filter(|section| section.kind() == SectionKind::Text)
    {
        let code = section.data().context("a section of the kernel object")?;
        let index = section.index();
        let targets = targets(&file, &section);
        let in_section = file.symbols().filter(|symbol| {
            symbol.kind() == SymbolKind::Text && symbol.section_index() == Some(index)
        });
        for symbol in in_section {
            let from = symbol.address();
            let code = code.get(from as usize..(from + symbol.size()) as usize);
            let code = code.context("a function outside of its section")?;
            let (stack, calls) = read(code, (index.0, from), &targets);
            let name = symbol.name().unwrap_or("?").to_owned();
            all.insert((index.0, from), Function { name, stack, calls });
        }
    }
    Ok(all)
}

/// What relocations of a section name: by the place of the instruction, a section, where in it, and
/// whether the instruction's own number counts from there.
fn targets(
    file: &object::File<'_>,
    section: &object::Section<'_, '_>,
) -> HashMap<u64, (SectionIndex, u64, bool)> {
    let mut targets = HashMap::new();
    for (offset, relocation) in section.relocations() {
        if let RelocationTarget::Symbol(index) = relocation.target()
            && let Ok(symbol) = file.symbol_by_index(index)
            && let Some(section) = symbol.section_index()
        {
            let is_section = symbol.kind() == SymbolKind::Section;
            targets.insert(offset, (section, symbol.address(), is_section));
        }
    }
    targets
}

/// A function's own stack, and what it calls or hands on to be called.
fn read(
    code: &[u8],
    (section, from): Place,
    targets: &HashMap<u64, (SectionIndex, u64, bool)>,
) -> (u32, Vec<Place>) {
    let mut lowest = 0_i64;
    let mut calls = Vec::new();
    let instructions = code.as_chunks::<BYTES>().0;
    for (at, instruction) in instructions.iter().enumerate() {
        let [operation, registers, low, high, number @ ..] = *instruction;
        let (to, source) = (registers & 15, registers >> 4);
        let offset = i64::from(i16::from_le_bytes([low, high]));
        let number = i64::from(i32::from_le_bytes(number));
        let place = from + (at * BYTES) as u64;
        let is_store = matches!(operation & 7, 2 | 3) && to == FRAME;
        let is_load = operation & 7 == 1 && source == FRAME;
        if is_store || is_load {
            lowest = lowest.min(offset);
        }
        if operation == MOVE
            && source == FRAME
            && let Some([ADD, next, _, _, number @ ..]) = instructions.get(at + 1)
            && next & 15 == to
        {
            lowest = lowest.min(i64::from(i32::from_le_bytes(*number)));
        }
        let target = targets.get(&place);
        let called = match (operation, target) {
            (CALL, Some((section, start, true))) if source == OF_PROGRAM => Some((
                section.0,
                start.wrapping_add_signed((number + 1) * BYTES as i64),
            )),
            (LOAD_ADDRESS, Some((section, start, true))) => {
                Some((section.0, start.wrapping_add_signed(number)))
            }
            (CALL | LOAD_ADDRESS, Some((section, start, false))) => Some((section.0, *start)),
            (CALL, None) if source == OF_PROGRAM => Some((
                section,
                place.wrapping_add_signed((number + 1) * BYTES as i64),
            )),
            _ => None,
        };
        calls.extend(called);
    }
    (u32::try_from(-lowest).unwrap_or(0), calls)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linux_6_1_has_stack_for_the_committed_object() {
        check(include_bytes!("../../../crates/kernel/object/gate.o")).unwrap();
    }

    #[test]
    fn the_programs_and_their_chains_are_seen() {
        let functions = functions(include_bytes!("../../../crates/kernel/object/gate.o")).unwrap();
        let named = |name: &str| functions.iter().find(|(_, function)| function.name == name);
        for program in ["egress", "connect4", "exec"] {
            let (place, _) = named(program).unwrap_or_else(|| panic!("{program}"));
            let (total, chain) = deepest(&functions, *place, &mut Vec::new());
            assert!(chain.len() > 2, "{chain:?}");
            assert!(total > 2 * STEP, "{chain:?}");
        }
    }

    #[test]
    fn each_function_of_a_chain_is_rounded_up() {
        let function = |name: &str, stack, calls| Function {
            name: name.to_owned(),
            stack,
            calls,
        };
        let functions = BTreeMap::from([
            ((1, 0), function("first", 104, vec![(2, 8), (2, 16)])),
            ((2, 8), function("second", 232, vec![(2, 16)])),
            ((2, 16), function("third", 0, vec![(1, 0)])),
        ]);
        let (total, chain) = deepest(&functions, (1, 0), &mut Vec::new());
        assert_eq!(total, 128 + 256 + 32);
        assert_eq!(chain, ["first 104", "second 232", "third 0"]);
    }

    #[test]
    fn stores_and_addresses_in_the_frame_count() {
        let code: Vec<u8> = [
            // *(u64 *)(r10 - 8) = r1
            [0x7b, 0x1a, 0xf8, 0xff, 0, 0, 0, 0],
            // r2 = r10, r2 += -40
            [MOVE, 0xa2, 0, 0, 0, 0, 0, 0],
            [ADD, 0x02, 0, 0, 0xd8, 0xff, 0xff, 0xff],
            // call of the function two instructions on
            [CALL, 0x10, 0, 0, 1, 0, 0, 0],
        ]
        .concat();
        let (stack, calls) = read(&code, (3, 64), &HashMap::new());
        assert_eq!(stack, 40);
        assert_eq!(calls, [(3, 64 + 24 + 16)]);
    }
}
