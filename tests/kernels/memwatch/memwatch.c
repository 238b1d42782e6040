// SPDX-License-Identifier: GPL-2.0
/*
 * process_memwatch - the soft-dirty pages of a range, read and cleared in one
 * step.
 *
 *	long process_memwatch(int pidfd, void *start, int len,
 *			      unsigned int flags, loff_t *vec, int vec_len)
 *
 * Not part of Linux: a test double for the system call that was proposed in
 * July 2022, written from its description, for Linux 6.1. It stops when vec is
 * full and clears exactly the pages that it returns.
 */
#include <linux/hugetlb.h>
#include <linux/huge_mm.h>
#include <linux/mm.h>
#include <linux/mm_inline.h>
#include <linux/mmu_notifier.h>
#include <linux/pagemap.h>
#include <linux/pagewalk.h>
#include <linux/pid.h>
#include <linux/ptrace.h>
#include <linux/sched/mm.h>
#include <linux/swapops.h>
#include <linux/syscalls.h>
#include <linux/uaccess.h>
#include <asm/tlbflush.h>

#define MEMWATCH_SD_GET			(1 << 0)
#define MEMWATCH_SD_CLEAR		(1 << 1)
#define MEMWATCH_SD_NO_REUSED_REGIONS	(1 << 2)
#define MEMWATCH_FLAGS (MEMWATCH_SD_GET | MEMWATCH_SD_CLEAR | \
			MEMWATCH_SD_NO_REUSED_REGIONS)

struct memwatch {
	unsigned long start;	/* offsets count from here */
	unsigned int flags;
	bool all;		/* of a mapping that is dirty as a whole */
	loff_t *vec;		/* NULL: nothing is to be returned */
	unsigned long n, room;
};

static bool wanted(const struct memwatch *w, bool soft_dirty)
{
	return soft_dirty || w->all;
}

/* False: there is no room. */
static bool store(struct memwatch *w, unsigned long addr)
{
	if (!w->vec)
		return true;
	if (w->n == w->room)
		return false;
	w->vec[w->n++] = addr - w->start;
	return true;
}

/* As clear_refs: what a device may write to behind our back stays dirty. */
static bool may_be_pinned(struct vm_area_struct *vma, unsigned long addr,
			  pte_t pte)
{
	struct page *page;

	if (!pte_write(pte) || !is_cow_mapping(vma->vm_flags) ||
	    !test_bit(MMF_HAS_PINNED, &vma->vm_mm->flags))
		return false;
	page = vm_normal_page(vma, addr, pte);
	return page && page_maybe_dma_pinned(page);
}

static void clear_pte(struct vm_area_struct *vma, unsigned long addr, pte_t *p)
{
	pte_t old = *p, new;

	if (pte_present(old)) {
		if (may_be_pinned(vma, addr, old))
			return;
		old = ptep_modify_prot_start(vma, addr, p);
		new = pte_clear_soft_dirty(pte_wrprotect(old));
		ptep_modify_prot_commit(vma, addr, p, old, new);
	} else if (is_swap_pte(old)) {
		swp_entry_t entry = pte_to_swp_entry(old);

		/* else it would become writable, and clean, at the end */
		if (is_writable_migration_entry(entry)) {
			new = swp_entry_to_pte(make_readable_migration_entry(
				swp_offset(entry)));
			if (pte_swp_uffd_wp(old))
				new = pte_swp_mkuffd_wp(new);
		} else {
			new = pte_swp_clear_soft_dirty(old);
		}
		set_pte_at(vma->vm_mm, addr, p, new);
	}
}

static int walk_ptes(pmd_t *pmd, unsigned long addr, unsigned long end,
		     struct mm_walk *walk)
{
	struct memwatch *w = walk->private;
	struct vm_area_struct *vma = walk->vma;
	spinlock_t *ptl;
	pte_t *first, *p;
	int r = 0;

	if (pmd_trans_unstable(pmd))
		return 0;
	first = p = pte_offset_map_lock(vma->vm_mm, pmd, addr, &ptl);
	for (; addr < end; p++, addr += PAGE_SIZE) {
		pte_t pte = *p;
		bool dirty = pte_present(pte) ? pte_soft_dirty(pte) :
			     is_swap_pte(pte) && pte_swp_soft_dirty(pte);

		if (!wanted(w, dirty))
			continue;
		if (!store(w, addr)) {
			r = 1;
			break;
		}
		if (w->flags & MEMWATCH_SD_CLEAR)
			clear_pte(vma, addr, p);
	}
	pte_unmap_unlock(first, ptl);
	cond_resched();
	return r;
}

#ifdef CONFIG_TRANSPARENT_HUGEPAGE
static void clear_pmd(struct vm_area_struct *vma, unsigned long addr, pmd_t *p)
{
	pmd_t new = *p, old;

	if (pmd_present(new)) {
		old = pmdp_invalidate(vma, addr, p);
		if (pmd_dirty(old))
			new = pmd_mkdirty(new);
		if (pmd_young(old))
			new = pmd_mkyoung(new);
		set_pmd_at(vma->vm_mm, addr, p,
			   pmd_clear_soft_dirty(pmd_wrprotect(new)));
	} else {
		set_pmd_at(vma->vm_mm, addr, p, pmd_swp_clear_soft_dirty(new));
	}
}

/* 1: done with it, 0: it is to be looked at page by page, 2: no more room. */
static int walk_huge(pmd_t *pmd, unsigned long addr, unsigned long end,
		     struct mm_walk *walk)
{
	struct memwatch *w = walk->private;
	struct vm_area_struct *vma = walk->vma;
	spinlock_t *ptl = pmd_trans_huge_lock(pmd, vma);
	unsigned long at, pages = (end - addr) / PAGE_SIZE;
	bool clear = w->flags & MEMWATCH_SD_CLEAR;
	bool whole = pages == HPAGE_PMD_NR, dirty;
	int r = 1;

	if (!ptl)
		return 0;
	dirty = pmd_present(*pmd) ? pmd_soft_dirty(*pmd)
				  : pmd_swp_soft_dirty(*pmd);
	if (!wanted(w, dirty))
		goto out;
	if (clear && (!whole || (w->vec && w->room - w->n < pages) ||
		      !pmd_present(*pmd))) {
		spin_unlock(ptl);
		/* waits for a migration */
		split_huge_pmd(vma, pmd, addr);
		return 0;
	}
	for (at = addr; at < end; at += PAGE_SIZE)
		if (!store(w, at)) {
			r = 2;
			goto out;
		}
	if (clear)
		clear_pmd(vma, addr, pmd);
out:
	spin_unlock(ptl);
	return r;
}
#else
static int walk_huge(pmd_t *pmd, unsigned long addr, unsigned long end,
		     struct mm_walk *walk)
{
	return 0;
}
#endif

static int walk_pmd(pmd_t *pmd, unsigned long addr, unsigned long end,
		    struct mm_walk *walk)
{
	int r = walk_huge(pmd, addr, end, walk);

	return r ? r - 1 : walk_ptes(pmd, addr, end, walk);
}

/* Pages that do not exist count only where the mapping is dirty as a whole. */
static int walk_hole(unsigned long addr, unsigned long end, int depth,
		     struct mm_walk *walk)
{
	struct memwatch *w = walk->private;

	for (; w->all && w->vec && addr < end; addr += PAGE_SIZE)
		if (!store(w, addr))
			return 1;
	return 0;
}

static const struct mm_walk_ops memwatch_ops = {
	.pmd_entry = walk_pmd,
	.pte_hole = walk_hole,
};

/* Let [start, end) of a mapping be not dirty as a whole any more. */
static int forget_new(struct mm_struct *mm, struct vm_area_struct *vma,
		      unsigned long start, unsigned long end)
{
	int r = 0;

	if (vma->vm_start < start)
		r = split_vma(mm, vma, start, 1);
	if (!r && end < vma->vm_end)
		r = split_vma(mm, vma, end, 0);
	if (r)
		return r;
	vma->vm_flags &= ~VM_SOFTDIRTY;
	vma_set_page_prot(vma);
	return 0;
}

/* One mapping. 1: vec is full, 0, or an error with nothing of it done. */
static int watch_vma(struct mm_struct *mm, struct vm_area_struct *vma,
		     unsigned long start, unsigned long end, struct memwatch *w)
{
	bool full = false;
	int r;

	w->all = !(w->flags & MEMWATCH_SD_NO_REUSED_REGIONS) &&
		 vma->vm_flags & VM_SOFTDIRTY;
	if (w->all && w->vec && w->room - w->n < (end - start) / PAGE_SIZE) {
		end = start + (w->room - w->n) * PAGE_SIZE;
		full = true;
	}
	if (start == end)
		return full;
	if (w->all && w->flags & MEMWATCH_SD_CLEAR) {
		r = forget_new(mm, vma, start, end);
		if (r)
			return r;
		vma = find_vma(mm, start);
	}
	r = walk_page_range(mm, start, end, &memwatch_ops, w);
	return r ? r : full;
}

static int watch_range(struct mm_struct *mm, unsigned long start,
		       unsigned long end, struct memwatch *w)
{
	bool clear = w->flags & MEMWATCH_SD_CLEAR;
	struct mmu_notifier_range range;
	unsigned long at = start;
	int r = 0;

	if (clear ? mmap_write_lock_killable(mm) : mmap_read_lock_killable(mm))
		return -EINTR;
	if (clear) {
		inc_tlb_flush_pending(mm);
		mmu_notifier_range_init(&range, MMU_NOTIFY_SOFT_DIRTY, 0, NULL,
					mm, start, end);
		mmu_notifier_invalidate_range_start(&range);
	}
	while (!r && at < end) {
		struct vm_area_struct *vma = find_vma(mm, at);
		unsigned long to;

		if (!vma || vma->vm_start >= end)
			break;
		at = max(at, vma->vm_start);
		to = min(end, vma->vm_end);
		if (!is_vm_hugetlb_page(vma) && !(vma->vm_flags & VM_PFNMAP))
			r = watch_vma(mm, vma, at, to, w);
		at = to;
	}
	if (clear) {
		mmu_notifier_invalidate_range_end(&range);
		/* before anybody can read what was returned */
		flush_tlb_mm(mm);
		dec_tlb_flush_pending(mm);
		mmap_write_unlock(mm);
	} else {
		mmap_read_unlock(mm);
	}
	/* what was cleared before an error must be told */
	return r < 0 && !w->n ? r : 0;
}

static struct mm_struct *target_mm(int pidfd)
{
	struct task_struct *task;
	struct mm_struct *mm;
	unsigned int f_flags;

	if (!pidfd) {
		mmget(current->mm);
		return current->mm;
	}
	task = pidfd_get_task(pidfd, &f_flags);
	if (IS_ERR(task))
		return ERR_CAST(task);
	mm = mm_access(task, PTRACE_MODE_ATTACH_FSCREDS);
	put_task_struct(task);
	if (mm == ERR_PTR(-EACCES))
		return ERR_PTR(-EPERM);
	return mm ? mm : ERR_PTR(-ESRCH);
}

SYSCALL_DEFINE6(process_memwatch, int, pidfd, void __user *, start, int, len,
		unsigned int, flags, loff_t __user *, vec, int, vec_len)
{
	unsigned long first = (unsigned long)untagged_addr(start);
	unsigned long bytes = PAGE_ALIGN((unsigned long)len);
	struct memwatch w = { .start = first, .flags = flags };
	struct mm_struct *mm;
	long r;

	if (!IS_ENABLED(CONFIG_MEM_SOFT_DIRTY))
		return -EPERM;
	if (!(flags & (MEMWATCH_SD_GET | MEMWATCH_SD_CLEAR)) ||
	    flags & ~MEMWATCH_FLAGS)
		return -EINVAL;
	if (!PAGE_ALIGNED(first) || len <= 0 ||
	    !access_ok((void __user *)first, bytes))
		return -EINVAL;
	if (flags & MEMWATCH_SD_GET && (!vec || vec_len <= 0))
		return -EINVAL;
	mm = target_mm(pidfd);
	if (IS_ERR(mm))
		return PTR_ERR(mm);
	r = -ENOMEM;
	if (flags & MEMWATCH_SD_GET) {
		w.room = min_t(unsigned long, vec_len, bytes / PAGE_SIZE);
		w.vec = kvcalloc(w.room, sizeof(*w.vec), GFP_KERNEL);
		if (!w.vec)
			goto out;
		/* Fail while nothing is cleared. */
		r = -EFAULT;
		if (fault_in_writeable((char __user *)vec,
				       w.room * sizeof(*vec)))
			goto out;
	}
	r = watch_range(mm, first, first + bytes, &w);
	if (!r && w.n && copy_to_user(vec, w.vec, w.n * sizeof(*vec)))
		r = -EFAULT;
	if (!r)
		r = w.n;
out:
	mmput(mm);
	kvfree(w.vec);
	return r;
}
