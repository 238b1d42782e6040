// SPDX-License-Identifier: MIT
//
// writewatch.hpp - writewatch.h for C++11: owners, and dirty memory to iterate over.
//
//	writewatch::tracker t;
//	if (t.open() != 0)
//		...
//	writewatch::watched w(t, memory, len);
//	...
//	for (ww_range r : t.dirty(memory, len, WW_RESET))
//		save(r.start, r.len);
//
// Nothing here throws or allocates: calls return what those of writewatch.h
// do, 0 or a negative errno value. A thin layer: what is not said here is said
// there.
#ifndef WRITEWATCH_HPP
#define WRITEWATCH_HPP

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <utility>

#include "writewatch.h"

namespace writewatch {

// Runs of dirty pages, asked for as the iteration goes on, 64 at a time. With
// WW_RESET what was handed out is clean, whether it was looked at or not: go
// through to the end. One iteration for each view.
class dirty_view {
public:
	class iterator {
	public:
		using iterator_category = std::input_iterator_tag;
		using value_type = ww_range;
		using difference_type = std::ptrdiff_t;
		using pointer = const ww_range *;
		using reference = const ww_range &;

		explicit iterator(dirty_view *view = nullptr) noexcept
			: view_(view)
		{
		}
		reference operator*() const noexcept
		{
			return view_->run_[view_->at_];
		}
		pointer operator->() const noexcept { return &**this; }
		iterator &operator++() noexcept
		{
			if (!view_->next())
				view_ = nullptr;
			return *this;
		}
		void operator++(int) noexcept { ++*this; }
		bool operator==(const iterator &other) const noexcept
		{
			return view_ == other.view_;
		}
		bool operator!=(const iterator &other) const noexcept
		{
			return view_ != other.view_;
		}

	private:
		dirty_view *view_;
	};

	dirty_view(ww *tracker, void *start, std::size_t len,
		   unsigned flags) noexcept
		: tracker_(tracker), start_(static_cast<char *>(start)),
		  len_(len), flags_(flags)
	{
	}

	iterator begin() noexcept
	{
		return iterator(fetch() ? this : nullptr);
	}
	iterator end() noexcept { return iterator(); }

	// 0, or why the iteration ended early. Pages behind that place are as
	// dirty as before.
	int error() const noexcept { return error_; }

private:
	static constexpr std::size_t room = 64;

	bool fetch() noexcept
	{
		at_ = 0;
		n_ = room;
		error_ = ww_get_ranges(tracker_, start_, len_, flags_, run_,
				       &n_);
		if (error_ != 0)
			n_ = 0;
		return n_ != 0;
	}

	bool next() noexcept
	{
		if (++at_ < n_)
			return true;
		if (n_ < room)
			return false;
		// The array was full: go on behind its last run.
		char *behind = static_cast<char *>(run_[n_ - 1].start) +
			       run_[n_ - 1].len;
		const bool to_the_end = len_ == 0; // of a window

		if (!to_the_end)
			len_ -= static_cast<std::size_t>(behind - start_);
		start_ = behind;
		return (to_the_end || len_ != 0) && fetch();
	}

	ww *tracker_;
	char *start_;
	std::size_t len_;
	unsigned flags_;
	ww_range run_[room];
	std::size_t at_ = 0, n_ = 0;
	int error_ = 0;
};

// Owns a tracker.
class tracker {
public:
	tracker() noexcept = default;
	tracker(tracker &&other) noexcept : ww_(other.release()) {}
	tracker &operator=(tracker &&other) noexcept
	{
		std::swap(ww_, other.ww_);
		return *this;
	}
	~tracker() { ww_close(ww_); }

	// On success closes the tracker owned before.
	int open(const ww_options *options = nullptr) noexcept
	{
		ww *opened;
		const int r = ww_open(&opened, options);

		if (r == 0) {
			ww_close(ww_);
			ww_ = opened;
		}
		return r;
	}
	void close() noexcept { ww_close(release()); }

	explicit operator bool() const noexcept { return ww_ != nullptr; }
	ww *get() const noexcept { return ww_; }
	ww *release() noexcept
	{
		ww *was = ww_;

		ww_ = nullptr;
		return was;
	}

	// The tracker's backend, and what it guarantees; "" and 0 if closed.
	const char *backend() const noexcept { return info().name; }
	unsigned caps() const noexcept { return info().caps; }

	int watch(void *start, std::size_t len, unsigned flags = 0) noexcept
	{
		return ww_watch(ww_, start, len, flags);
	}
	int unwatch(void *start, std::size_t len, unsigned flags = 0) noexcept
	{
		return ww_unwatch(ww_, start, len, flags);
	}
	int protect(void *start, std::size_t len, int prot,
		    unsigned flags = 0) noexcept
	{
		return ww_protect(ww_, start, len, prot, flags);
	}
	int discard(void *start, std::size_t len, unsigned flags = 0) noexcept
	{
		return ww_discard(ww_, start, len, flags);
	}
	int mark(void *start, std::size_t len) noexcept
	{
		return ww_mark(ww_, start, len, 0);
	}
	int reset(void *start, std::size_t len, unsigned flags = 0) noexcept
	{
		return ww_reset(ww_, start, len, flags);
	}
	int reset_ranges(const ww_range *ranges, std::size_t count) noexcept
	{
		return ww_reset_ranges(ww_, ranges, count, 0);
	}
	// The range that holds an address, or the next one behind it.
	int next_range(const void *at, ww_range_info &out) const noexcept
	{
		out = ww_range_info();
		out.size = sizeof(out);
		return ww_next_range(ww_, at, &out);
	}

	// Dirty memory to iterate over; WW_WINDOW with nullptr, 0:
	// everything that is watched.
	dirty_view dirty(void *start, std::size_t len,
			 unsigned flags = 0) const noexcept
	{
		return dirty_view(ww_, start, len, flags);
	}

private:
	ww_backend_info info() const noexcept
	{
		ww_backend_info i = ww_backend_info();

		i.size = sizeof(i);
		if (ww_info(ww_, &i) != 0)
			i.name = "";
		return i;
	}

	ww *ww_ = nullptr;
};

namespace detail {

// Memory for which a constructor did something that the destructor undoes.
class scope {
public:
	scope(const scope &) = delete;
	scope &operator=(const scope &) = delete;

	// 0, or why it was not done.
	int error() const noexcept { return error_; }

protected:
	scope(tracker &t, void *start, std::size_t len, int error) noexcept
		: ww_(t.get()), start_(start), len_(len), error_(error)
	{
	}
	~scope() = default;

	ww *ww_;
	void *start_;
	std::size_t len_;
	int error_;
};

} // namespace detail

// Memory that is held (ww_hold()) as long as the object lives: around a system
// call that writes there.
class held : public detail::scope {
public:
	held(tracker &t, void *start, std::size_t len) noexcept
		: scope(t, start, len, ww_hold(t.get(), start, len, 0))
	{
	}
	~held()
	{
		if (error_ == 0)
			ww_release(ww_, start_, len_, 0);
	}
};

// Memory that is watched as long as the object lives. The tracker must outlive
// the object.
class watched : public detail::scope {
public:
	watched(tracker &t, void *start, std::size_t len,
		unsigned flags = 0) noexcept
		: scope(t, start, len, t.watch(start, len, flags))
	{
	}
	~watched()
	{
		if (error_ == 0)
			ww_unwatch(ww_, start_, len_, 0);
	}
};

} // namespace writewatch

#endif
