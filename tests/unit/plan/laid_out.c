/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "tests/unit/plan/laid_out.h"

const int file_index[2] = { 3, 5 };
struct model_vma vmas[64];
static struct model_run runs[64][64];
size_t nvmas;
struct plan_layout l;
bool join_text;

int laid_out_setup(void **state)
{
	(void)state;
	nvmas = 0;
	join_text = false;
	memset(vmas, 0, sizeof(vmas));
	return 0;
}

int laid_out_teardown(void **state)
{
	(void)state;
	plan_layout_done(&l);
	return 0;
}

struct model_vma *vma(uint64_t start, uint64_t end, uint32_t prot, int object)
{
	struct model_vma *v = &vmas[nvmas];

	*v = (struct model_vma){ .start = BASE + start * PAGE,
				 .end = BASE + end * PAGE,
				 .prot = prot,
				 .object = object,
				 .runs = runs[nvmas],
				 .name = (char *)"" };
	nvmas++;
	return v;
}

void written(struct model_vma *v, uint64_t start, uint64_t end)
{
	v->runs[v->nruns++] = (struct model_run){ BASE + start * PAGE, BASE + end * PAGE, MODEL_NO_OFFSET };
}

void check_whole(void)
{
	uint64_t at = 0, v = 0, off = 0;

	for (size_t i = 0; i < l.nmaps; i++) {
		const struct stub_map *m = &l.maps[i];

		assert_true(m->len > 0 && m->addr % PAGE == 0 && m->len % PAGE == 0);
		assert_true(m->addr >= at);
		at = m->addr;
		while (at < m->addr + m->len) {
			assert_true(v < nvmas && vmas[v].start == at);
			if (vmas[v].end > m->addr + m->len) {
				/* a mapping goes on in the next piece */
				vmas[v].start = m->addr + m->len;
				at = m->addr + m->len;
				break;
			}
			at = vmas[v++].end;
		}
		if (m->file == STUB_FILE_PAGES || m->flags & STUB_MAP_COPY) {
			assert_true(m->off >= off && m->off % PAGE == 0);
			off = m->off + (m->flags & STUB_MAP_COPY ? m->copy_len : m->len);
		}
	}
	assert_int_equal(v, nvmas);
	assert_true(l.pages_size >= off);
}

void layout(size_t expected)
{
	const struct model_space space = { .vmas = vmas, .nvmas = nvmas };

	plan_layout_done(&l);
	assert_int_equal(plan_layout(&space, file_index, PAGE, join_text, &l), 0);
	assert_int_equal(l.nmaps, expected);
	for (size_t i = 0; i < nvmas; i++)
		assert_true(vmas[i].nruns <= 64);
}

void is(size_t i, int file, uint64_t start, uint64_t end, uint64_t off_pages)
{
	const struct stub_map *m = &l.maps[i];

	assert_int_equal(m->file, file);
	assert_int_equal(m->addr, BASE + start * PAGE);
	assert_int_equal(m->len, (end - start) * PAGE);
	assert_int_equal(m->off, off_pages * PAGE);
}
