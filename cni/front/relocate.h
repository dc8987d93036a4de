/*
 * Only in a build with `--loaded`: ld.so has run, but its work on the program itself is left to this place.
 * Deno has 137,000 relocations of one kind, a word that is moved by as much as the program was, which write
 * 2 MB: most of what a CNI call would wait for, which needs none of them. So the build hides them from ld.so
 * (deferRelocations of installer/build/elf.ts), and they are made up for before Deno begins, as a program
 * that is linked statically does for itself. What names another library's symbols ld.so does as ever.
 */
struct relocation {
  u64 offset, info;
  i64 addend;
};

__attribute__((noreturn)) static void no_relocation(i64 error) {
  char text[128], *at = put_text(text, "tortie: its memory cannot be protected anew (os error ");
  at = put_text(put_number(at, -error), ")\n");
  sys(SYS_write, 2, text, at - text);
  quit(127);
}

static void relocate(const struct place *p, u64 page) {
  u64 image = in_memory(p, 0);
  /* As ld.so rounds it (glibc, _dl_protect_relro). */
  u64 from = in_memory(p, p->sealed) & -page, to = in_memory(p, p->sealed + p->sealed_size) & -page;
  i64 done = sys(SYS_mprotect, from, to - from, PROT_R | PROT_W);
  if (failed(done)) no_relocation(done);
  const struct relocation *all = (const struct relocation *)in_memory(p, p->relocations);
  for (u64 i = 0; i < p->relocation_count; i++) *(u64 *)(image + all[i].offset) = image + all[i].addend;
  done = sys(SYS_mprotect, from, to - from, PROT_R);
  if (failed(done)) no_relocation(done);
}
