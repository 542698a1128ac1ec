//! The smallest program that there is: one system call, with which it ends.

/// The bytes of an executable file that does nothing but end. Where its machine code is not
/// known, none.
pub fn tiny_program() -> Option<Vec<u8>> {
    let (machine, code): (u16, &[u8]) = match std::env::consts::ARCH {
        // mov eax, 60; xor edi, edi; syscall
        "x86_64" => (62, &[0xb8, 60, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05]),
        // mov x8, #93; mov x0, #0; svc #0
        "aarch64" => (
            183,
            &[0xa8, 0x0b, 0x80, 0xd2, 0, 0, 0x80, 0xd2, 0x01, 0, 0, 0xd4],
        ),
        _ => return None,
    };
    const HEADERS: u64 = 64 + 56;
    const BASE: u64 = 0x40_0000;
    let size = HEADERS + code.len() as u64;
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    let short = |file: &mut Vec<u8>, values: &[u16]| {
        values
            .iter()
            .for_each(|value| file.extend(value.to_le_bytes()));
    };
    let long = |file: &mut Vec<u8>, values: &[u64]| {
        values
            .iter()
            .for_each(|value| file.extend(value.to_le_bytes()));
    };
    // Executable, this machine, version 1 (32 bits).
    short(&mut file, &[2, machine, 1, 0]);
    long(&mut file, &[BASE + HEADERS, 64, 0]);
    // No flags (32 bits); sizes of the headers; one program header; no sections.
    short(&mut file, &[0, 0, 64, 56, 1, 0, 0, 0]);
    // One segment, to be loaded, readable and executable.
    short(&mut file, &[1, 0, 5, 0]);
    long(&mut file, &[0, BASE, BASE, size, size, 0x1000]);
    file.extend(code);
    Some(file)
}
