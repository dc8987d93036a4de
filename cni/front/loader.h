/*
 * Not in a build with `--loaded`: the program has no PT_INTERP, the kernel starts the front door at once
 * (a CNI call then costs no run of ld.so), and for everything else the front
 * door does here what the kernel would have done: map ld.so, say in the auxiliary vector where it is, and
 * go there (System V ABI; execve(2); getauxval(3)).
 *
 * Who runs `ld.so tortie` or ldd has an interpreter already: AT_BASE is set, or the ABI's register is.
 */

enum { PT_LOAD = 1, PT_INTERP = 3, PT_PHDR = 6, ET_DYN = 3 };
enum { AT_FDCWD = -100 };

struct elf_header {
  u8 id[16];
  u16 type, machine;
  u32 version;
  u64 entry, program_headers, sections;
  u32 flags;
  u16 size, program_header_size, program_header_count, section_size, section_count, names;
};

struct program_header {
  u32 type, flags;
  u64 offset, address, physical, file_size, memory_size, align;
};

__attribute__((noreturn)) static void no_loader(const char *path, i64 error) {
  char text[128], *at = put_number(put_text(text, ": cannot be loaded (os error "), -error);
  at = put_text(at, ")\n");
  sys(SYS_write, 2, path, length_of(path));
  sys(SYS_write, 2, text, at - text);
  quit(127);
}

/* Maps ld.so; its entry. `base`: how far from its own addresses it is. */
static u64 map_loader(const char *path, u64 page, u64 *base) {
  u64 head[128], low = ~0UL, high = 0;
  struct elf_header *elf = (struct elf_header *)head;
  i64 file = sys(SYS_openat, AT_FDCWD, path, O_CLOEXEC);
  if (failed(file)) no_loader(path, file);
  i64 n = syscall6(SYS_pread, file, (i64)head, sizeof head, 0, 0, 0);
  if (n < (i64)sizeof *elf || *(u32 *)elf->id != 0x464c457f || elf->id[4] != 2 || elf->type != ET_DYN ||
      elf->machine != ELF_MACHINE || elf->program_header_size != sizeof(struct program_header) ||
      elf->program_headers & 7 || elf->program_headers > sizeof head ||
      elf->program_headers + elf->program_header_count * sizeof(struct program_header) > (u64)n)
    no_loader(path, -ENOEXEC);
  struct program_header *first = (struct program_header *)((char *)head + elf->program_headers),
                        *end = first + elf->program_header_count, *h;
  for (h = first; h < end; h++) {
    if (h->type != PT_LOAD) continue;
    if (h->address < low) low = h->address;
    if (h->address + h->memory_size > high) high = h->address + h->memory_size;
  }
  low &= -page;
  high = (high + page - 1) & -page;
  /* One hole for all segments, so that their distances stay. */
  u64 hole = sys_mmap(0, high - low, 0, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (failed(hole)) no_loader(path, hole);
  *base = hole - low;
  for (h = first; h < end; h++) {
    if (h->type != PT_LOAD) continue;
    u64 start = *base + h->address, inset = start & (page - 1), file_end = start + h->file_size,
        memory_end = start + h->memory_size, next_page = (file_end + page - 1) & -page;
    int protection =
        (h->flags & 4 ? PROT_R : 0) | (h->flags & 2 ? PROT_W : 0) | (h->flags & 1 ? PROT_X : 0);
    i64 r = h->file_size ? sys_mmap(start - inset, h->file_size + inset, protection,
                                    MAP_PRIVATE | MAP_FIXED, file, h->offset - inset)
                         : 0;
    if (failed(r)) no_loader(path, r);
    if (h->memory_size <= h->file_size) continue;
    /* ld.so's first allocations lie behind its .bss, up to the end of the page: they must be zero. */
    if (protection & PROT_W)
      for (volatile char *c = (char *)file_end; c < (char *)next_page; c++) *c = 0;
    r = memory_end > next_page ? sys_mmap(next_page, memory_end - next_page, protection,
                                          MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS, -1, 0)
                               : 0;
    if (failed(r)) no_loader(path, r);
  }
  sys(SYS_close, file, 0, 0);
  return *base + elf->entry;
}

static u64 load_interpreter(const struct place *p, char **environment) {
  u64 *headers = auxiliary(environment, AT_PHDR), *count = auxiliary(environment, AT_PHNUM),
      *base = auxiliary(environment, AT_BASE), *entry = auxiliary(environment, AT_ENTRY),
      page = page_size(environment);
  if (!headers || !count || !base || !entry || *base) return in_memory(p, p->entry);
  const char *path = (const char *)in_memory(p, p->interpreter);
  /*
   * ld.so insists on a PT_INTERP: it is shown a copy of the program headers that has one. The real ones
   * stay as they are in the file, by which debuggers recognise the program.
   */
  u64 size = (*count + 1) * sizeof(struct program_header);
  struct program_header *from = (struct program_header *)*headers,
                        *copy = (struct program_header *)sys_mmap(
                            0, page, PROT_R | PROT_W, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (failed(copy) || size > page) no_loader(path, -ENOMEM);
  u64 bias = 0;
  for (u64 i = 0; i < *count; i++)
    if (from[i].type == PT_PHDR) bias = (u64)from - from[i].address;
  for (u64 i = 0; i < *count; i++) {
    put((char *)&copy[i], (char *)&from[i], sizeof *copy);
    if (copy[i].type != PT_PHDR) continue;
    /* By the distance of this from AT_PHDR ld.so knows where the program lies. */
    copy[i].address = copy[i].physical = (u64)copy - bias;
    copy[i].file_size = copy[i].memory_size = size;
  }
  struct program_header *interpreter = &copy[*count];
  interpreter->type = PT_INTERP;
  interpreter->flags = 4;
  interpreter->offset = interpreter->address = interpreter->physical = (u64)path - bias;
  interpreter->file_size = interpreter->memory_size = p->interpreter_size;
  interpreter->align = 1;
  sys(SYS_mprotect, copy, page, PROT_R);
  *headers = (u64)copy;
  ++*count;
  *entry = in_memory(p, p->entry);
  return map_loader(path, page, base);
}
