/*
 * The tests' guest: a 32-bit program that a VMM enters by the PVH protocol, which prints known lines on the first
 * serial port, as its kernel command line says, and then ends the machine. No paging, no interrupts, no libc.
 *
 * Words of the command line, each `name=number`:
 *
 *   lines   numbered lines to print; 0 never stops                                 (100)
 *   begin   rounds of an idle loop before the first byte                           (0)
 *   delay   rounds of an idle loop after each line                                 (0)
 *   echo    1: afterwards send every input byte back, up to and including a `q`    (0)
 *   reboot  1: end with a reset instead of a power-off                             (0)
 *   wait    rounds of an idle loop before that end                                 (0)
 *   lsr     1: ask the UART whether it has room before each byte, and whether all
 *           has left before the end. QEMU loses bytes of a guest that doesn't.      (0)
 */

typedef unsigned char byte;
typedef unsigned short port;
typedef unsigned int word;

/* What %ebx points to at the entry; the VMM fills it in. Only the command line matters here. */
struct start_info {
	word magic, version, flags, module_count;
	word modules[2];
	word command_line[2]; /* a physical address, low half first */
};

enum { COM1 = 0x3f8, COM1_STATUS = COM1 + 5 };
enum { INPUT_READY = 0x01, ROOM_FOR_A_BYTE = 0x20, ALL_SENT = 0x40 };

enum { KEYBOARD_COMMAND = 0x64, PULSE_RESET = 0xfe };

/* Cloud Hypervisor takes sleep type 5 and the enable bit as a byte at 0x600. QEMU's PM1a control is the word at 0x604,
 * and 0x600 there is a status register in which this byte clears flags that nobody reads. */
enum { CH_SLEEP = 0x600, CH_POWER_OFF = 0x34, QEMU_SLEEP = 0x604, QEMU_POWER_OFF = 0x2000 };

__asm__(".pushsection .note.pvh, \"a\", @note\n"
	"	.balign 4\n"
	"	.long 2f - 1f, 4f - 3f, 18\n" /* 18: the physical address of a 32-bit entry */
	"1:	.asciz \"Xen\"\n"
	"2:	.balign 4\n"
	"3:	.long entry\n"
	"4:	.popsection\n"
	"	.globl entry\n"
	"entry:	movl $stack_end, %esp\n"
	"	pushl %ebx\n"
	"	call run\n");

static inline void write_byte(port where, byte what)
{
	__asm__ volatile("outb %0, %1" : : "a"(what), "Nd"(where));
}

static inline void write_word(port where, unsigned short what)
{
	__asm__ volatile("outw %0, %1" : : "a"(what), "Nd"(where));
}

static inline byte read_byte(port where)
{
	byte what;
	__asm__ volatile("inb %1, %0" : "=a"(what) : "Nd"(where));
	return what;
}

static int asks_for_room;

static void await_status(byte flag)
{
	while (asks_for_room && !(read_byte(COM1_STATUS) & flag))
		;
}

static void print_byte(byte what)
{
	await_status(ROOM_FOR_A_BYTE);
	write_byte(COM1, what);
}

static void print(const char *text)
{
	for (; *text; text++)
		print_byte((byte)*text);
}

static void print_line(word number)
{
	char digits[9] = "00000000";
	for (int at = 7; at >= 0; at--, number /= 10)
		digits[at] = (char)('0' + number % 10);
	print("SEQ ");
	print(digits);
	print(" the quick brown fox jumps over the lazy dog\n");
}

static void idle(word rounds)
{
	for (volatile word round = 0; round < rounds; round++)
		;
}

/* The number after `name=` where that begins a word of the command line; otherwise `absent`. */
static word setting(const char *line, const char *name, word absent)
{
	while (line && *line) {
		const char *expected = name;
		while (*expected && *line == *expected)
			line++, expected++;
		if (!*expected && *line == '=') {
			word value = 0;
			for (line++; *line >= '0' && *line <= '9'; line++)
				value = value * 10 + (word)(*line - '0');
			return value;
		}
		while (*line && *line != ' ')
			line++;
		while (*line == ' ')
			line++;
	}
	return absent;
}

static void echo_until_q(void)
{
	byte input = 0;
	while (input != 'q') {
		if (!(read_byte(COM1_STATUS) & INPUT_READY))
			continue;
		input = read_byte(COM1);
		print_byte(input);
	}
}

void run(const struct start_info *info)
{
	const char *line = (const char *)info->command_line[0];
	word lines = setting(line, "lines", 100);
	word delay = setting(line, "delay", 0);
	asks_for_room = setting(line, "lsr", 0) != 0;

	idle(setting(line, "begin", 0));
	print("GUEST-UP\n");
	for (word number = 0; !lines || number < lines; number++) {
		print_line(number);
		idle(delay);
	}
	print("GUEST-DONE\n");
	if (setting(line, "echo", 0))
		echo_until_q();

	await_status(ALL_SENT);
	idle(setting(line, "wait", 0));
	if (setting(line, "reboot", 0)) {
		write_byte(KEYBOARD_COMMAND, PULSE_RESET);
	} else {
		write_byte(CH_SLEEP, CH_POWER_OFF);
		write_word(QEMU_SLEEP, QEMU_POWER_OFF);
	}
	for (;;)
		__asm__ volatile("hlt");
}
